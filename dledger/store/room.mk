# dledger/store: the log and the hard state on disk.
ROOMS           += dlstore
dlstore_SRCS    := $(wildcard dledger/store/*.c)
dlstore_ARCHIVE := libdlstore.a
dlstore_NEEDS   := dlcore common
dlstore_LIBS    :=
