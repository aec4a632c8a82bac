# broker/front: requests in flight: proposes, waits, answers.
ROOMS         += front
front_SRCS    := $(wildcard broker/front/*.c)
front_ARCHIVE := libmqfront.a
front_NEEDS   := state dledger dlnet dlstore dlcore proto common
front_LIBS    :=
