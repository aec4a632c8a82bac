# tools: tools/<name>.c is a program, tools/<name>_*.c belongs to it, tools/common_*.c to all of them.
TOOLS         := $(foreach f,$(wildcard tools/*.c),$(if $(findstring _,$(notdir $f)),,$(notdir $(basename $f))))
ROOMS         += tools
tools_SRCS    := $(wildcard tools/common_*.c)
tools_ARCHIVE := libmqtools.a
tools_NEEDS   := client dlstore dlcore common
tools_LIBS    :=
