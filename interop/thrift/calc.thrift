namespace * interop.calc

typedef i64 Money

enum Op { ADD = 1, SUB = 2, MUL = 5 }

struct Point { 1: required i32 x, 2: i32 y = 12, 3: optional i32 z }

union Shape { 1: Point point, 2: list<i32> line, 3: string name }

exception Overflow { 1: string why, 2: i32 limit } (code = "OUT_OF_RANGE")
exception Missing { 1: string what } (code = "NOT_FOUND")

struct Everything {
  1: bool yes
  2: i8 small
  3: i16 short_one
  4: i32 n
  5: i64 big
  6: double d
  7: string s
  8: binary raw
  9: list<i16> shorts
  10: set<string> words
  11: map<string, i32> counts
  12: map<double, string> by_double
  13: list<list<i32>> matrix
  14: map<i32, map<i32, string>> nested
  15: Op op
  16: list<Op> ops
  17: map<Op, i64> by_op
  18: Shape shape
  19: list<Money> prices
  20: optional list<string> maybe
  21: optional Point inner
  22: map<i16, i8> tiny
  23: set<i32> numbers
}

service Base {
  string ping()
  oneway void note(1: string text)
  list<string> notes()
}

service Calc extends Base {
  i32 apply(1: Op op, 2: i32 a, 5: i32 b) throws (1: Overflow overflow, 2: Missing missing)
  Everything echo(1: Everything value)
  list<list<i32>> transpose(1: list<list<i32>> rows)
  map<string, Point> points(1: set<string> names)
  void nothing()
  void broken()
}
