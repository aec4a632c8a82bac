# common: what any program may want; knows no Raft, no topic, no LMDB.
ROOMS          += common
common_SRCS    := $(wildcard common/*.c)
common_ARCHIVE := libcommon.a
common_NEEDS   :=
common_LIBS    := $(EVENT_LIBS) $(ZLIB_LIBS) $(DEFLATE_LIBS)
