# dledger/net: replicas talking to each other.
ROOMS         += dlnet
dlnet_SRCS    := $(wildcard dledger/net/*.c)
dlnet_ARCHIVE := libdlnet.a
dlnet_NEEDS   := dlcore proto common
dlnet_LIBS    :=
