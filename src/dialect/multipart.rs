//! `multipart/form-data` (RFC 7578) over a body that is fully in memory.
//!
//! Owns boundaries and part headers. A part with a file name is a field like any other. Must never
//! guess: a body without its closing delimiter was cut short, and is refused.

use super::body::BodyError;

/// Longest boundary, in bytes (RFC 2046 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;
/// Longest header block of one part, in bytes.
const PART_HEAD_BYTES_MAX: usize = 2_048;

/// The boundary named by a content type's parameters, the text after `multipart/form-data`.
pub(super) fn boundary(parameters_text: &str) -> Result<String, BodyError> {
    let boundary = parameters(parameters_text)
        .into_iter()
        .flatten()
        .find(|(name, _)| name == "boundary")
        .map(|(_, value)| value)
        .ok_or(BodyError::Multipart("the content type names no boundary"))?;
    let sound = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && !boundary.ends_with(' ');
    if sound { Ok(boundary) } else { Err(BodyError::Multipart("the boundary is malformed")) }
}

/// The name and content of each part, in order. At most `parts_max` are read.
pub(super) fn parts<'a>(
    boundary: &str,
    body: &'a [u8],
    parts_max: usize,
) -> Result<Vec<(String, &'a [u8])>, BodyError> {
    let line = format!("\r\n--{boundary}");
    let mut rest = match body.strip_prefix(&line.as_bytes()[2..]) {
        Some(rest) => rest,
        None => split_at(body, line.as_bytes()).ok_or(BodyError::Multipart("no part begins"))?.1,
    };
    let mut found = Vec::new();
    while !rest.starts_with(b"--") {
        if found.len() == parts_max {
            return Err(BodyError::TooManyFields);
        }
        let (name, after_head) = head(after_delimiter(rest)?)?;
        let (content, after) = split_at(after_head, line.as_bytes())
            .ok_or(BodyError::Multipart("the closing boundary is missing"))?;
        found.push((name, content));
        rest = after;
    }
    Ok(found)
}

fn after_delimiter(rest: &[u8]) -> Result<&[u8], BodyError> {
    let padding = rest.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    rest[padding..]
        .strip_prefix(b"\r\n")
        .ok_or(BodyError::Multipart("a boundary line is malformed"))
}

/// Reads a part's headers: its name, and what follows the empty line.
fn head(part: &[u8]) -> Result<(String, &[u8]), BodyError> {
    let window = &part[..part.len().min(PART_HEAD_BYTES_MAX)];
    let (head, _) = split_at(window, b"\r\n\r\n")
        .ok_or(BodyError::Multipart("a part has no end of headers"))?;
    let text = std::str::from_utf8(head)
        .map_err(|_| BodyError::Multipart("a part's headers are not UTF-8"))?;
    let mut name = None;
    for line in text.split("\r\n") {
        let (field, value) =
            line.split_once(':').ok_or(BodyError::Multipart("a part has a malformed header"))?;
        if field.eq_ignore_ascii_case("content-disposition") {
            name = disposition_name(value.trim());
        }
        let encoded = field.eq_ignore_ascii_case("content-transfer-encoding")
            && !["7bit", "8bit", "binary"].iter().any(|e| value.trim().eq_ignore_ascii_case(e));
        if encoded {
            return Err(BodyError::Multipart("transfer-encoded parts are not supported"));
        }
    }
    let name = name.ok_or(BodyError::Multipart("a part has no name"))?;
    Ok((name, &part[head.len() + 4..]))
}

fn disposition_name(value: &str) -> Option<String> {
    let (kind, rest) = value.split_at(value.find(';')?);
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return None;
    }
    parameters(rest)?.into_iter().find(|(name, _)| name == "name").map(|(_, value)| value)
}

/// Reads `; name=value; name="quoted value"`, names in lower case.
fn parameters(mut rest: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Some(found);
        }
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(text) => quoted(text)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name.trim().to_ascii_lowercase(), value));
        rest = after;
    }
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

fn split_at<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(mark.len()).position(|window| window == mark)?;
    Some((&text[..at], &text[at + mark.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str) -> Result<Vec<(String, String)>, BodyError> {
        let text = |(name, value): (String, &[u8])| {
            (name, String::from_utf8(value.to_vec()).expect("UTF-8"))
        };
        Ok(parts("b", content.as_bytes(), 4)?.into_iter().map(text).collect())
    }

    #[test]
    fn reads_parts_as_clients_write_them() {
        let body = "preamble\r\n--b \r\nContent-Disposition: form-data; name=\"target_url\"\r\n\r\n\
                    http://a/\r\n--b\r\ncontent-disposition: form-data; filename=\"x;y\"; \
                    name=is\\_active\r\ncontent-type: text/plain\r\n\
                    content-transfer-encoding: binary\r\n\r\nline\r\n--c\r\n\r\n--b--\r\nepilogue";
        let got = read(body).expect("sound");
        assert_eq!(got[0], ("target_url".to_owned(), "http://a/".to_owned()));
        assert_eq!(got[1], ("is\\_active".to_owned(), "line\r\n--c\r\n".to_owned()));
        assert_eq!(read("--b--").expect("empty"), []);
    }

    #[test]
    fn refuses_what_is_cut_or_nameless() {
        let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
        for body in [
            "",
            "nothing",
            "--b",
            part,
            &part.replace("name=\"a\"", "other=\"a\""),
            &part.replace("name=\"a\"", "name=\"a"),
            &part.replace("form-data", "attachment"),
            "--b\r\nContent-Disposition: form-data; name=a\r\n--b--",
            "--bx\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b--",
            "--b\r\nContent-Disposition: form-data; name=a\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n1\r\n--b--",
        ] {
            assert!(read(body).is_err(), "{body:?}");
        }
        assert!(matches!(read(&(part.repeat(5) + "--b--")), Err(BodyError::TooManyFields)));
    }

    #[test]
    fn boundaries() {
        assert_eq!(boundary("; charset=x; Boundary=\"a b\\\"c\"").expect("quoted"), "a b\"c");
        assert_eq!(boundary(";boundary=--x").expect("token"), "--x");
        let long = format!("; boundary={}", "x".repeat(71));
        for text in ["", "; boundary=", "; boundary=\"a", "; boundary=\"a\r\nb\"", &long] {
            assert!(boundary(text).is_err(), "{text:?}");
        }
    }
}
