//! A JSON array, cut into the texts of its elements.
//!
//! Owns the cut alone, so that each element can be measured before it becomes a tree, and a large
//! batch never stands in memory as one. Must never judge an element: whoever parses it does, and
//! the array is sound when all of its elements are.

/// The texts between the outer brackets, by the commas outside strings and inner brackets. `None`
/// if the outer brackets are missing or something follows them.
pub(super) fn elements(text: &[u8]) -> Option<Vec<&[u8]>> {
    let inner = text.trim_ascii().strip_prefix(b"[")?.strip_suffix(b"]")?;
    if inner.trim_ascii().is_empty() {
        return Some(Vec::new());
    }
    let mut found = Vec::new();
    let (mut from, mut at, mut depth) = (0, 0, 0_usize);
    while let Some(byte) = inner.get(at) {
        match byte {
            b'"' => at += string_len(&inner[at..]) - 1,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                found.push(&inner[from..at]);
                from = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    found.push(&inner[from..]);
    Some(found)
}

/// Length of the string that `text` begins with, quotes included; all of it if it does not end.
fn string_len(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::json::Json;

    #[test]
    fn cuts() {
        let text = br#" [ {"a":[1,2]} ,"],\"[",3] "#;
        let want: [&[u8]; 3] = [br#" {"a":[1,2]} "#, br#""],\"[""#, b"3"];
        assert_eq!(elements(text).expect("an array"), want);
        assert_eq!(elements(b"[ ]").expect("empty"), Vec::<&[u8]>::new());
        assert_eq!(elements(b"[1,]").expect("cut, not judged").len(), 2);
        for text in [&b""[..], b"[", b"]", b"{}", b"[1] [2", b"[]]", b"[1]}[2]"] {
            assert_eq!(elements(text), None, "{text:?}");
        }
    }

    proptest! {
        /// The array is sound exactly when all of its elements are.
        #[test]
        fn agrees_with_the_reader(text in "\\[([\\[\\]{},:\"a1\\\\ ]|\"a\":|null|\\{\\}){0,12}\\]") {
            let whole = Json::parse(text.as_bytes());
            let parts: Option<Vec<Json>> = elements(text.as_bytes())
                .and_then(|parts| parts.iter().map(|part| Json::parse(part).ok()).collect());
            prop_assert_eq!(whole.ok(), parts.map(Json::Array));
        }
    }
}
