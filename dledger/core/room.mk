# dledger/core: the pure Raft core. Of common/ it may call ensure's failure path and nothing else.
ROOMS          += dlcore
dlcore_SRCS    := $(wildcard dledger/core/*.c)
dlcore_ARCHIVE := libdlcore.a
dlcore_NEEDS   := common
dlcore_LIBS    :=
