//! Names in Thrift's IDL: words that cannot be names, and names of Protobuf in Thrift's form.

/// Words that no compiler of Thrift takes as a name, since some language has them.
const RESERVED: &str = " BEGIN END None True False __CLASS__ __DIR__ __FILE__ __FUNCTION__ __LINE__ __METHOD__ __NAMESPACE__ abstract alias and args as \
assert async await begin binary bool break byte case catch class clone const continue cpp_include cpp_type declare def default del delete do \
double dynamic elif else elseif elsif end enddeclare endfor endforeach endif endswitch endwhile ensure enum except exception exec extends \
false finally float for foreach from function global goto i16 i32 i64 i8 if implements import in include inline instanceof interface is \
lambda list map module namespace native new next nil nonlocal not oneway optional or package pass print private protected public raise redo \
reference register required rescue retry return self senum service set sizeof slist static string struct super switch synchronized then \
this throw throws transient true try typedef typeof undef union unless unsigned until use uuid var virtual void volatile when while with \
xor yield ";

/// Whether a word cannot be a name.
pub fn is_reserved(name: &str) -> bool {
    !name.contains(' ') && RESERVED.contains(&format!(" {name} "))
}

/// A name that can be one: reserved words get `_` behind them.
pub fn safe(name: &str) -> String {
    if is_reserved(name) { format!("{name}_") } else { name.to_owned() }
}

/// A method's name on the wire. Those of a `.thrift` file (`own`) are as they stand there.
pub fn method(name: &str, own: bool) -> String {
    if own { name.to_owned() } else { safe(name) }
}

/// `OrderStatus` as `ORDER_STATUS`.
pub fn upper_snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::with_capacity(name.len() + 4);
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|b| chars.get(b));
        let after = chars.get(at + 1);
        let new = before.is_some_and(|b| b.is_lowercase() || b.is_ascii_digit())
            || (before.is_some_and(|b| b.is_uppercase()) && after.is_some_and(|a| a.is_lowercase()));
        if c.is_uppercase() && new {
            out.push('_');
        }
        out.extend(c.to_uppercase());
    }
    out
}

/// `line_items` as `LineItems`.
pub fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = true;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        for (name, snake) in [
            ("Status", "STATUS"),
            ("OrderStatus", "ORDER_STATUS"),
            ("HTTPCode", "HTTP_CODE"),
            ("a_b", "A_B"),
            ("V2Kind", "V2_KIND"),
        ] {
            assert_eq!(upper_snake(name), snake);
        }
        assert_eq!(camel("line_items"), "LineItems");
        assert_eq!(safe("from"), "from_");
        assert_eq!(safe("fro"), "fro");
        assert_eq!(safe("From"), "From");
        assert!(!is_reserved("from function"));
    }
}
