# nameserver: the routing table. All but main.c is a library, so that tests can start one.
ROOMS              += nameserver
nameserver_SRCS    := $(filter-out nameserver/main.c,$(wildcard nameserver/*.c))
nameserver_ARCHIVE := libmqnamesrv.a
nameserver_NEEDS   := common
nameserver_LIBS    := $(ZLIB_LIBS)
