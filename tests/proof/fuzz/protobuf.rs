//! Protobuf schemas: the text of a `.proto`, as somebody registers it.

use tidegate::schema::{Compatibility, Schema};

use super::Target;

pub struct Protos;

const PROTO3: &str = r#"syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
message Placed {
  option deprecated = true;
  reserved 9, 11 to 13, 20 to max;
  reserved "old";
  string order = 1 [json_name = "Order"];
  repeated Line lines = 2;
  map<string, Line> named = 3;
  oneof how { int32 cash = 4; Line card = 5; }
  optional Unit unit = 6;
  google.protobuf.Timestamp at = 7;
  repeated sint32 marks = 8 [packed = false];
  message Line { double price = 1; bytes note = 2; Placed inner = 3; }
  enum Unit { option allow_alias = true; PIECE = 0; ONE = 0; KILO = -1; }
}
service Shop { rpc Place(stream Placed) returns (Placed.Line) { option deprecated = true; } }
"#;

const PROTO2: &str = r#"syntax = "proto2";
import "google/protobuf/descriptor.proto";
extend google.protobuf.FieldOptions { optional Mark mark = 50000; }
message Mark { optional string text = 1; repeated Mark inner = 2; }
message A {
  required int64 a = 1 [default = -0x7f, (mark) = { text: "x" 'y' inner < text: "\\x41\\101\\u00e4" > }];
  optional group Both = 2 { required float b = 1 [default = inf]; }
  optional E e = 3 [default = TWO];
  extensions 100 to 199;
  extend A { repeated bytes more = 100; }
}
enum E { ONE = 1; TWO = 2; reserved 5 to 7; }
"#;

impl Target for Protos {
    fn seeds(&self) -> Vec<Vec<u8>> {
        vec![PROTO3.into(), PROTO2.into(), b"message A {}".to_vec()]
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"message ",
            b"enum ",
            b"oneof ",
            b"group ",
            b"map<",
            b"extend ",
            b"extensions ",
            b"reserved ",
            b" to ",
            b"max",
            b"option ",
            b"import ",
            b"public ",
            b"weak ",
            b"package ",
            b"optional ",
            b"repeated ",
            b"required ",
            b"stream ",
            b"{",
            b"}",
            b"<",
            b">",
            b"[",
            b"]",
            b"(",
            b")",
            b";",
            b"=",
            b":",
            b"/*",
            b"*/",
            b"//",
            b"#",
            b"\"",
            b"'",
            b"\\",
            b"\\777",
            b"\\ud800",
            b"-1",
            b"0",
            b"536870912",
            b"18446744073709551616",
            b"1e999",
            b"nan",
            b"-inf",
            b".5f",
            b"Placed",
            b".",
            b"google.protobuf.",
            b"json_name",
            b"default",
            b"packed",
            b"allow_alias",
            b"message_set_wire_format",
            b"\xc3\xa9",
            b"\xff",
            b"\0",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let Ok(text) = std::str::from_utf8(input) else { return Ok("no text".to_owned()) };
        match Schema::protobuf(text) {
            Ok(schema) => match Compatibility::Full.check("A", 2, &schema, [(1, &schema)]) {
                Ok(()) => Ok("a schema".to_owned()),
                Err(error) => Err(format!("it doesn't go with itself: {error}")),
            },
            Err(error) => Ok(error.to_string()),
        }
    }
}
