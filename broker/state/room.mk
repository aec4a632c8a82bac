# broker/state: what committed entries mean; the only user of LMDB. Of dledger it sees core/types.h, which needs no library.
ROOMS         += state
state_SRCS    := $(wildcard broker/state/*.c)
state_ARCHIVE := libmqstate.a
state_NEEDS   := proto common
state_LIBS    := $(LMDB_LIBS)
