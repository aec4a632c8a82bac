# proto: the wire schemas; only what protoc-c generates from them is compiled.
ROOMS         += proto
proto_SRCS    := $(patsubst %.proto,$(B)/gen/%.pb-c.c,$(wildcard proto/*.proto))
proto_ARCHIVE := libproto.a
proto_NEEDS   :=
proto_LIBS    := $(PROTOBUF_C_LIBS)
