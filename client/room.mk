# client: the C client. This archive is for our own tools and tests; others get libledgermq (see the Makefile).
ROOMS          += client
client_SRCS    := $(wildcard client/*.c)
client_ARCHIVE := libmqclient.a
client_NEEDS   := common
client_LIBS    := $(ZLIB_LIBS)
