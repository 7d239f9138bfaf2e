//! A small, strict tree of an answer, built in one pass and bounded in every direction.
//!
//! What an honest answer never carries is refused rather than interpreted, because two readings of
//! one text are how a forged answer is believed: document types, processing instructions, comments,
//! entities beyond the five, a second root, anything after the root
//! (`docs/invariants.md` V2, Q5). Unknown elements and attributes are kept. A CDATA section is text like any
//! other: it is never markup here, and the signature is over it.

use std::ops::Range;

use quick_xml::{
    Reader,
    escape::unescape,
    events::{BytesStart, Event},
};

const MAX_DEPTH: usize = 32;
const MAX_ELEMENTS: usize = 4096;
const MAX_ATTRIBUTES: usize = 64;
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// One element, its children in the order they came.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) attributes: Vec<(String, String)>,
    /// The text directly inside, entities resolved.
    pub(super) text: String,
    pub(super) children: Vec<Element>,
    /// Where the element stands in the document, tags included.
    pub(super) raw: Range<usize>,
}

/// Why a text is not an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum XmlError {
    #[error("not well-formed XML")]
    NotWellFormed,
    #[error("a document type")]
    DocumentType,
    #[error("a processing instruction")]
    ProcessingInstruction,
    #[error("a comment")]
    Comment,
    #[error("an entity other than the five")]
    Entity,
    #[error("a character that XML forbids")]
    ForbiddenCharacter,
    #[error("a name with unusual characters")]
    Name,
    #[error("text or elements outside the one root")]
    OutsideRoot,
    #[error("more elements, levels, attributes or text than an answer has")]
    TooLarge,
}

impl Element {
    /// The text, trimmed; `None` for an element with children or without text.
    pub(super) fn leaf(&self) -> Option<&str> {
        let text = self.text.trim();
        (self.children.is_empty() && !text.is_empty()).then_some(text)
    }

    /// Whether there is nothing but white space between the children.
    pub(super) fn has_no_text(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// Parses a whole document.
pub(super) fn parse(document: &str) -> Result<Element, XmlError> {
    if document.chars().any(is_forbidden) {
        return Err(XmlError::ForbiddenCharacter);
    }
    let mut reader = Reader::from_str(document);
    let mut builder = Builder::default();
    loop {
        let start = position(&reader)?;
        let event = reader.read_event().map_err(|_| XmlError::NotWellFormed)?;
        let end = position(&reader)?;
        match event {
            Event::Start(tag) => builder.open(&tag, start)?,
            Event::Empty(tag) => {
                builder.open(&tag, start)?;
                builder.close(end)?;
            }
            Event::End(_) => builder.close(end)?,
            Event::Text(text) => builder.text(&text.into_inner())?,
            Event::GeneralRef(reference) => {
                let entity = format!("&{};", reference.into_inner());
                builder.text(&resolve(&entity)?)?;
            }
            Event::Decl(_) if start == 0 => {}
            Event::Decl(_) | Event::PI(_) => return Err(XmlError::ProcessingInstruction),
            Event::DocType(_) => return Err(XmlError::DocumentType),
            Event::CData(text) => builder.text(&text.into_inner())?,
            Event::Comment(_) => return Err(XmlError::Comment),
            Event::Eof => return builder.finish(),
        }
    }
}

fn position(reader: &Reader<&[u8]>) -> Result<usize, XmlError> {
    usize::try_from(reader.buffer_position()).map_err(|_| XmlError::TooLarge)
}

/// Resolves the five entities and character references, nothing else.
fn resolve(text: &str) -> Result<String, XmlError> {
    let text = unescape(text).map_err(|_| XmlError::Entity)?;
    if text.chars().any(is_forbidden) {
        return Err(XmlError::ForbiddenCharacter);
    }
    Ok(text.into_owned())
}

/// XML's own exclusions, and the other control characters, which no value has.
fn is_forbidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r')) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Names take part in the signed text, so they may hold nothing that means something there.
fn checked_name(name: &str) -> Result<String, XmlError> {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b':');
    if starts_well && name.bytes().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err(XmlError::Name)
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    root: Option<Element>,
    elements: usize,
}

impl Builder {
    fn open(&mut self, tag: &BytesStart<'_>, start: usize) -> Result<(), XmlError> {
        if self.root.is_some() {
            return Err(XmlError::OutsideRoot);
        }
        self.elements += 1;
        if self.open.len() >= MAX_DEPTH || self.elements > MAX_ELEMENTS {
            return Err(XmlError::TooLarge);
        }
        self.open.push(Element {
            name: checked_name(tag.name().as_ref())?,
            attributes: attributes(tag)?,
            raw: start..start,
            ..Element::default()
        });
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), XmlError> {
        let Some(element) = self.open.last_mut() else {
            let blank = text.chars().all(char::is_whitespace);
            return blank.then_some(()).ok_or(XmlError::OutsideRoot);
        };
        if element.text.len() + text.len() > MAX_TEXT_BYTES {
            return Err(XmlError::TooLarge);
        }
        element.text.push_str(text);
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<(), XmlError> {
        let mut element = self.open.pop().ok_or(XmlError::NotWellFormed)?;
        element.raw.end = end;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn finish(self) -> Result<Element, XmlError> {
        if !self.open.is_empty() {
            return Err(XmlError::NotWellFormed);
        }
        self.root.ok_or(XmlError::NotWellFormed)
    }
}

/// Reads the attributes. The bound comes first: checking 80,000 of them for duplicates is an
/// attack (RUSTSEC-2026-0194), 64 is not.
fn attributes(tag: &BytesStart<'_>) -> Result<Vec<(String, String)>, XmlError> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for attribute in tag.attributes().with_checks(false) {
        let attribute = attribute.map_err(|_| XmlError::NotWellFormed)?;
        if attributes.len() >= MAX_ATTRIBUTES {
            return Err(XmlError::TooLarge);
        }
        let name = checked_name(attribute.key.as_ref())?;
        if attribute.value.contains('<') || attributes.iter().any(|(other, _)| *other == name) {
            return Err(XmlError::NotWellFormed);
        }
        attributes.push((name, resolve(&attribute.value)?));
    }
    Ok(attributes)
}

#[cfg(test)]
#[path = "xml_tests.rs"]
mod tests;
