# dledger: the node, which drives core, store and net.
ROOMS           += dledger
dledger_SRCS    := $(wildcard dledger/*.c)
dledger_ARCHIVE := libdledger.a
dledger_NEEDS   := dlnet dlstore dlcore proto common
dledger_LIBS    :=
