# LedgerMQ: the whole build, one non-recursive Makefile. `make help` lists what can be asked of it.
#
#   make                       build/release: libraries in lib/, programs in bin/, tests in tests/
#   make FLAVOUR=asan          the same under build/asan (also: tsan, fuzz)
#   make B=/elsewhere          the same somewhere else, e.g. for two builds of one tree at a time
#   make CC=clang V=1          another compiler; show the command lines
#   make check-unit ROOM=common     build and run the unit tests of one room, and nothing else
#
# Each room (directory of sources) describes itself in its room.mk, by five variables:
#   ROOMS       += id                    the id is also the name of its directory in tests/unit
#   id_SRCS     := ...                   what goes into its library
#   id_ARCHIVE  := libid.a               one static library per room
#   id_NEEDS    := room room ...         the rooms below it, nearest first, all of them: nothing is implied, so
#                                        that an include in the wrong direction fails to link as well
#   id_LIBS     := ...                   the system libraries it calls itself
# A room whose sources are not there yet gives an empty library; a program without its main.c is left out.

.DEFAULT_GOAL := all
.SUFFIXES:
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

FLAVOUR ?= release
B       ?= build/$(FLAVOUR)

# ---- Configuration -----------------------------------------------------------------------------------------
# A fresh clone has no config.mk: make finds it missing, follows the rules below and starts over.
# These goals do without, so that they never install or configure anything.
ifneq ($(filter-out help clean distclean format,$(or $(MAKECMDGOALS),all)),)
include config.mk
endif

config.mk: config.mk.in configure
	@if test -x config.status; then ./config.status --recheck && ./config.status; else ./configure; fi
	@touch $@

configure: configure.ac
	@deploy/install-deps.sh build
	autoconf

# ---- Flags -------------------------------------------------------------------------------------------------
WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith

# Assertions (common/ensure.h) are on in every flavour.
# _FORTIFY_SOURCE warns when nothing is optimised; some compilers define it themselves.
flavour_release := $(if $(filter -O1 -O2 -O3 -Os,$(CFLAGS)),-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
flavour_asan    := -fsanitize=address,undefined -fno-sanitize-recover=all
flavour_tsan    := -fsanitize=thread
flavour_fuzz    := -fsanitize=address,undefined -fno-sanitize-recover=all -fsanitize=fuzzer-no-link
link_release    := -Wl,-z,relro,-z,now
ifeq ($(filter $(FLAVOUR),release asan tsan fuzz),)
$(error FLAVOUR is one of release, asan, tsan, fuzz; not "$(FLAVOUR)")
endif
# libFuzzer comes with clang only.
ifeq ($(FLAVOUR),fuzz)
CC := clang
endif

ALL_CPPFLAGS := -I. -I$(B)/gen -D_GNU_SOURCE -DLEDGERMQ_VERSION='"$(PACKAGE_VERSION)"' \
  $(sort $(EVENT_CFLAGS) $(PROTOBUF_C_CFLAGS) $(LMDB_CFLAGS) $(ZLIB_CFLAGS)) $(CPPFLAGS)
ALL_CFLAGS   := -std=c11 -pthread $(WARNINGS) -fno-omit-frame-pointer -fstack-protector-strong \
  $(CFLAGS) $(flavour_$(FLAVOUR))
ALL_LDFLAGS  := -pthread -Wl,--as-needed $(flavour_$(FLAVOUR)) $(link_$(FLAVOUR)) $(LDFLAGS)

# One short line per step; whole command lines with V=1, nothing with -s.
ifneq ($(findstring s,$(filter-out -%,$(firstword $(MAKEFLAGS)))),)
say  = @
else ifndef V
say  = @printf '  %-8s %s\n' '$1' '$(patsubst $(B)/%,%,$2)';
else
say  =
endif

# $(call remember,text): rewrites the target only when the text differs, so that what depends on it is built
# again when the flags, the compiler or a list of files changed, and only then.
remember = @mkdir -p $(@D); printf '%s\n' '$(subst ','\'',$1)' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$1)' >$@

FORCE:
.PHONY: FORCE

$(B)/flags: FORCE
	$(call remember,$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(ALL_LDFLAGS))

# ---- Rooms -------------------------------------------------------------------------------------------------
ROOMS :=
include $(wildcard proto/room.mk common/room.mk dledger/*/room.mk dledger/room.mk broker/*/room.mk broker/room.mk \
  nameserver/room.mk client/room.mk tools/room.mk)

# $(call archives,rooms) and $(call syslibs,rooms): what a program made of these rooms is linked with.
archives = $(foreach r,$1,$(B)/lib/$($r_ARCHIVE))
syslibs  = $(foreach r,$1,$($r_LIBS)) $(LIBS)
# A room and all below it.
with_below = $1 $($1_NEEDS)

PROTO_HEADERS := $(patsubst %.proto,$(B)/gen/%.pb-c.h,$(wildcard proto/*.proto))
OBJECTS :=

# Only rooms that need the generated headers wait for them.
define room_rules
$1_OBJECTS := $$(patsubst %.c,$(B)/obj/%.o,$$(patsubst $(B)/%,%,$($1_SRCS)))
OBJECTS += $$($1_OBJECTS)
$$($1_OBJECTS): | $(if $(filter proto,$1 $($1_NEEDS)),$(PROTO_HEADERS))
$(B)/lib/$($1_ARCHIVE): $$($1_OBJECTS) $(B)/lib/$1.list
	$$(call say,AR,$$@) rm -f $$@ && $$(AR) rcs $$@ $$($1_OBJECTS)
$(B)/lib/$1.list: FORCE
	$$(call remember,$$($1_OBJECTS))
endef
$(foreach r,$(ROOMS),$(eval $(call room_rules,$r)))

# $(call program,name,objects,rooms,more link flags) gives the rule that links $(B)/name.
define program
OBJECTS += $2
$2: | $(if $(filter proto,$3),$(PROTO_HEADERS))
$(B)/$1: $2 $(call archives,$3) $(B)/flags
	$$(call say,LINK,$$@) mkdir -p $$(@D) && \
	$$(CC) $$(ALL_LDFLAGS) -o $$@ $2 $(call archives,$3) $(call syslibs,$3) $4
endef

$(B)/obj/%.o: %.c $(B)/flags
	$(call say,CC,$<) mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(EXTRA_CFLAGS) -MMD -MP -c -o $@ $<

# protoc-c's code is not ours to keep free of warnings.
$(B)/obj/gen/%.o: $(B)/gen/%.c $(B)/flags
	$(call say,CC,$<) mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -w -MMD -MP -c -o $@ $<

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	$(call say,PROTOC,$<) mkdir -p $(B)/gen && $(PROTOC_C) --c_out=$(B)/gen $<

# ---- Programs ----------------------------------------------------------------------------------------------
PROGRAMS :=
BROKER_ROOMS := $(call with_below,broker)

# $(call installed,name,main.c and friends,rooms): a program that `make install` installs, if its source is there.
define installed
PROGRAMS += $(B)/bin/$1
$(call program,bin/$1,$(2:%.c=$(B)/obj/%.o),$3)
endef
$(if $(wildcard nameserver/main.c),$(eval $(call installed,mqnamesrv,nameserver/main.c,$(call with_below,nameserver))))
$(if $(wildcard broker/main.c),$(eval $(call installed,mqbroker,broker/main.c,$(BROKER_ROOMS))))
$(foreach t,$(TOOLS),$(eval $(call installed,$t,$(wildcard tools/$t.c tools/$t_*.c),$(call with_below,tools))))

# ---- The client library, for others ------------------------------------------------------------------------
# It carries the parts of common/ it needs, compiled once more as position-independent code, and shows the names
# declared in its public header only: both forms can live in a program which has its own log_write() or buf_new().
CLIENT_HEADER := $(wildcard client/ledgermq.h)
ifneq ($(CLIENT_HEADER),)
CLIENT_SONAME  := libledgermq.so.0
CLIENT_SHARED  := $(B)/lib/libledgermq.so.$(PACKAGE_VERSION)
CLIENT_STATIC  := $(B)/lib/libledgermq.a
CLIENT_OBJECTS := $(patsubst %.c,$(B)/pic/%.o,$(client_SRCS) $(common_SRCS))
CLIENT_LIBS    := $(call syslibs,client common)
OBJECTS        += $(CLIENT_OBJECTS)

$(B)/pic/%.o: %.c $(B)/flags
	$(call say,CC,$<) mkdir -p $(@D) && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -fPIC -ffunction-sections -MMD -MP -c -o $@ $<

# The public names: whatever looks like lmq_name( in the header.
$(B)/gen/ledgermq.names: $(CLIENT_HEADER)
	@mkdir -p $(@D) && grep -o '\blmq_[a-z0-9_]*(' $< | tr -d '(' | sort -u >$@
$(B)/gen/ledgermq.map: $(B)/gen/ledgermq.names
	@{ echo 'LEDGERMQ_0 { global:'; sed 's/$$/;/' $<; echo 'local: *; };'; } >$@
$(B)/lib/client-pic.list: FORCE
	$(call remember,$(CLIENT_OBJECTS))

$(CLIENT_SHARED): $(CLIENT_OBJECTS) $(B)/gen/ledgermq.map $(B)/lib/client-pic.list
	$(call say,LINK,$@) $(CC) $(ALL_LDFLAGS) -shared -Wl,-soname,$(CLIENT_SONAME) -Wl,-z,defs -Wl,--gc-sections \
	  -Wl,--version-script,$(B)/gen/ledgermq.map -o $@ $(CLIENT_OBJECTS) $(CLIENT_LIBS) && \
	ln -sf $(@F) $(@D)/$(CLIENT_SONAME) && ln -sf $(CLIENT_SONAME) $(@D)/libledgermq.so

# One relocatable object in an archive, all other names made local.
$(CLIENT_STATIC): $(CLIENT_OBJECTS) $(B)/gen/ledgermq.names $(B)/lib/client-pic.list
	$(call say,AR,$@) rm -f $@ && $(CC) -r -nostdlib -o $(B)/pic/ledgermq.o $(CLIENT_OBJECTS) && \
	$(OBJCOPY) --keep-global-symbols=$(B)/gen/ledgermq.names $(B)/pic/ledgermq.o && $(AR) rcs $@ $(B)/pic/ledgermq.o

# Made anew each time: prefix may be given to `make install` only.
$(B)/lib/ledgermq.pc: deploy/ledgermq.pc.in FORCE
	@mkdir -p $(@D) && sed -e 's|@prefix@|$(prefix)|' -e 's|@exec_prefix@|$(exec_prefix)|' -e 's|@libdir@|$(libdir)|' \
	  -e 's|@includedir@|$(includedir)|' -e 's|@version@|$(PACKAGE_VERSION)|' -e 's|@libs@|$(strip $(CLIENT_LIBS))|' $< >$@

# A library with a sanitizer's calls in it is of no use to others.
ifeq ($(FLAVOUR),release)
CLIENT_LIBRARIES := $(CLIENT_SHARED) $(CLIENT_STATIC)
endif
endif

# ---- Tests -------------------------------------------------------------------------------------------------
# Fixtures shared by test programs; linked first, so that they may use every room the test has.
TEST_FIXTURES := $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/lib/*.c))
OBJECTS += $(TEST_FIXTURES)
$(B)/lib/libfixtures.a: $(TEST_FIXTURES) $(B)/lib/fixtures.list
	$(call say,AR,$@) rm -f $@ && $(AR) rcs $@ $(TEST_FIXTURES)
$(B)/lib/fixtures.list: FORCE
	$(call remember,$(TEST_FIXTURES))
fixtures_ARCHIVE := libfixtures.a
fixtures_LIBS    := $(CHECK_LIBS)
$(TEST_FIXTURES): | $(PROTO_HEADERS)

# A unit test is linked with its room and those below, nothing else.
define unit_tests
UNIT_TESTS_$1 := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/$1/test_*.c))
UNIT_TESTS += $$(UNIT_TESTS_$1)
$(foreach t,$(patsubst %.c,%,$(wildcard tests/unit/$1/test_*.c)),
$(call program,$t,$(B)/obj/$t.o,fixtures $(call with_below,$1)))
endef
UNIT_TESTS :=
$(foreach r,$(ROOMS),$(eval $(call unit_tests,$r)))

SCENARIOS := $(patsubst %.c,$(B)/%,$(wildcard tests/scenario/test_*.c))
$(foreach t,$(SCENARIOS:$(B)/%=%),$(eval $(call program,$t,\
  $(patsubst %.c,$(B)/obj/%.o,$t.c $(filter-out tests/scenario/test_%,$(wildcard tests/scenario/*.c))),\
  fixtures $(BROKER_ROOMS))))

SIM_SRCS := $(wildcard tests/sim/*.c)
SIM := $(if $(wildcard tests/sim/main.c tests/sim/sim.c),$(B)/tests/sim/sim)
$(if $(SIM),$(eval $(call program,tests/sim/sim,$(SIM_SRCS:%.c=$(B)/obj/%.o),\
  fixtures dledger dlnet dlstore dlcore state proto common)))

# Every fuzz target sees all rooms; it is linked by clang with libFuzzer's main().
FUZZ_TARGETS := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
ifeq ($(FLAVOUR),fuzz)
$(foreach t,$(FUZZ_TARGETS:$(B)/%=%),$(eval $(call program,$t,$(B)/obj/$t.o,fixtures client nameserver $(BROKER_ROOMS),-fsanitize=fuzzer)))
$(B)/obj/tests/fuzz/%.o: EXTRA_CFLAGS := -Wno-missing-prototypes
endif

# Programs that measure: bench/<name>.c each.
BENCHES := $(patsubst bench/%.c,$(B)/bin/%,$(wildcard bench/*.c))
$(foreach t,$(BENCHES:$(B)/%=%),$(eval $(call program,$t,$(B)/obj/bench/$(notdir $t).o,client $(BROKER_ROOMS))))

-include $(OBJECTS:.o=.d)

# ---- Goals -------------------------------------------------------------------------------------------------
# tests/run.sh runs test programs one by one and counts them; see there. Scripts find the programs in $BIN.
RESULTS := $(B)/results
BIN     := $(abspath $(B)/bin)
export B BIN FLAVOUR NM RESULTS

# Simulated seeds and seconds within `make check`.
SIM_CHECK_COUNT ?= 1000
SIM_SECONDS     ?= 60
SEED            ?= 1
COUNT           ?= 1
FUZZ_SECONDS    ?= 60
CHAOS_SECONDS   ?= 60
SYSTEM_TESTS    := $(sort $(wildcard tests/system/*.sh tests/system/*.py))
LINTS           := $(sort $(wildcard tests/lint/check-*.sh tests/lint/check-*.py))

RUN       := tests/run.sh
run_unit   = $(RUN) unit $(if $(ROOM),$(UNIT_TESTS_$(ROOM)),$(UNIT_TESTS))
run_scen   = $(RUN) scenario $(SCENARIOS)
run_lint   = $(RUN) lint $(LINTS)
run_sim    = $(RUN) sim $(if $(SIM),'$(SIM) --seed 1 --count $(SIM_CHECK_COUNT) --seconds $(SIM_SECONDS)')
run_system = $(RUN) system $(SYSTEM_TESTS)
begin      = @rm -f $(RESULTS)
total      = $(RUN) --total

.PHONY: all tests help check check-deps check-unit check-scenario check-lint check-sim check-system check-clients
.PHONY: sim chaos bench demo fuzz format install uninstall clean distclean

ifeq ($(FLAVOUR),fuzz)
all: $(FUZZ_TARGETS)
else
all: $(PROGRAMS) $(CLIENT_LIBRARIES) $(call archives,$(ROOMS)) ## build libraries and programs (the default)
endif

tests: all $(UNIT_TESTS) $(SCENARIOS) $(SIM) $(BENCHES) ## build the test programs as well

check: tests check-deps ## run unit, scenario, lint, a short simulation and system tests
	$(begin)
	@$(run_lint); $(run_unit); $(run_scen); $(run_sim); $(run_system); $(total)

check-deps:
	@deploy/install-deps.sh check

check-unit: $(if $(ROOM),$(UNIT_TESTS_$(ROOM)),$(UNIT_TESTS)) ## unit tests, all or those of ROOM=
	$(begin)
	@$(run_unit); $(total)

check-scenario: $(SCENARIOS) ## transcripts of tests/scenario
	$(begin)
	@$(run_scen); $(total)

check-lint: check-deps $(B)/lib/$(dlcore_ARCHIVE) ## formatting, include direction, links, and other rules about the text
	$(begin)
	@$(run_lint); $(total)

check-sim: $(SIM) ## SIM_CHECK_COUNT=1000 seeds of SIM_SECONDS=60 simulated seconds
	$(begin)
	@$(run_sim); $(total)

check-system: all check-deps ## real processes, tests/system
	$(begin)
	@$(run_system); $(total)

check-clients: all ## unmodified RocketMQ clients against a three-replica cluster
	@deploy/install-deps.sh check clients
	deploy/check-clients.sh

sim: $(SIM) ## one or more simulator runs: SEED=1 COUNT=1 SIM_SECONDS=60
	$(SIM) --seed $(SEED) --count $(COUNT) --seconds $(SIM_SECONDS)

chaos: all check-deps ## kill, stop and partition real processes under load, for CHAOS_SECONDS=60
	CHAOS_SECONDS=$(CHAOS_SECONDS) deploy/chaos.sh

bench: all $(BENCHES) ## measure, with the raw disk figure of the same minute
	bench/run.sh

demo: all ## cluster up, leader killed under load, verdict
	deploy/demo.sh

ifeq ($(FLAVOUR),fuzz)
fuzz: $(FUZZ_TARGETS)
	tests/fuzz/run.sh $(FUZZ_SECONDS) $(FUZZ_TARGETS)
else
fuzz: check-deps ## every fuzz target for FUZZ_SECONDS=60
	+$(MAKE) FLAVOUR=fuzz B=$(if $(filter file,$(origin B)),build/fuzz,$(B)/fuzz) fuzz
endif

SOURCES = $(shell find . -path ./build -prune -o -name node_modules -prune -o -name '*.[ch]' -print)
format: ## put all C into the shape of .clang-format
	clang-format -i $(SOURCES)

install: all $(if $(CLIENT_HEADER),$(B)/lib/ledgermq.pc) ## DESTDIR= and prefix= as usual
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir)
	$(if $(PROGRAMS),install -m 755 $(PROGRAMS) $(DESTDIR)$(bindir))
ifneq ($(CLIENT_LIBRARIES),)
	install -m 644 $(CLIENT_HEADER) $(DESTDIR)$(includedir)
	install -m 644 $(CLIENT_STATIC) $(DESTDIR)$(libdir)
	install -m 755 $(CLIENT_SHARED) $(DESTDIR)$(libdir)
	ln -sf $(notdir $(CLIENT_SHARED)) $(DESTDIR)$(libdir)/$(CLIENT_SONAME)
	ln -sf $(CLIENT_SONAME) $(DESTDIR)$(libdir)/libledgermq.so
	install -m 644 $(B)/lib/ledgermq.pc $(DESTDIR)$(libdir)/pkgconfig
	@$(if $(DESTDIR),,if [ "$$(id -u)" = 0 ]; then PATH=$$PATH:/sbin:/usr/sbin ldconfig; \
	  else echo 'as root, run ldconfig: programs find libledgermq.so then'; fi)
endif

uninstall: ## remove what install put there
	rm -f $(addprefix $(DESTDIR)$(bindir)/,$(notdir $(PROGRAMS))) $(DESTDIR)$(includedir)/ledgermq.h \
	  $(DESTDIR)$(libdir)/libledgermq.* $(DESTDIR)$(libdir)/pkgconfig/ledgermq.pc

clean: ## remove what this flavour built
	rm -rf $(B)

distclean: ## remove all flavours and the configuration
	rm -rf build autom4te.cache config.mk config.log config.status configure configure~

help: ## this list
	@echo 'Goals (FLAVOUR=release|asan|tsan|fuzz, B=build directory, CC=gcc|clang, V=1 to see commands):'
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | sort | expand -t 18
