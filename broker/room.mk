# broker: wiring. All but main.c is a library, so that tests can start one.
ROOMS          += broker
broker_SRCS    := $(filter-out broker/main.c,$(wildcard broker/*.c))
broker_ARCHIVE := libmqbroker.a
broker_NEEDS   := front state dledger dlnet dlstore dlcore proto common
broker_LIBS    := $(ZLIB_LIBS)
