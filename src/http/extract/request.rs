//! Requests, each declared once: what is declared is what is read, and what the OpenAPI document says.
//!
//! Reading a request straight into a struct with `serde` stops at the first fault and knows nothing of
//! the document. `request!` declares the members with their rules in place of that. A member that
//! is declared and not used is a warning of the compiler.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use super::{fields::Faults, fields::ObjectReader, json::Json, rules::Rule};
use crate::http::problem::Problem;

/// A JSON object as a request may have it. Made by `request!`.
pub(in crate::http) trait Request {
    /// The members, in the order in which their faults are told.
    const MEMBERS: &'static [&'static str];

    /// Reads the members. What is missing or faulty is absent, and a fault of the reader's.
    fn read(reader: &mut ObjectReader) -> Self;
}

/// Reads a body. `complete` makes what is needed of it, and may find more faults; where it returns `None`
/// there is a fault that says why.
pub(in crate::http) fn read_request<R: Request, T>(
    body: &Json,
    complete: impl FnOnce(R, &mut Faults) -> Option<T>,
) -> Result<T, Problem> {
    let mut faults = Faults::default();
    let request = read_members(body, &mut faults);
    let complete = complete(request, &mut faults);
    faults.sort_by(R::MEMBERS);
    faults.into_result()?;
    complete.ok_or_else(|| Problem::validation(Vec::new()))
}

/// Reads the members of a body, where the faults go on to be collected.
pub(in crate::http) fn read_members<R: Request>(body: &Json, faults: &mut Faults) -> R {
    // The body is an object: that was checked when it was parsed.
    let members = body.members().unwrap_or_default();
    let mut reader = ObjectReader::new(members, String::new(), faults);
    let request = R::read(&mut reader);
    reader.finish();
    request
}

/// How a member may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Presence {
    /// It must be there.
    Required,
    /// It may be left out or `null`; of a merge patch it may be left out only.
    Optional,
    /// It may be left out, and `null` takes it away (RFC 7396).
    Nullable,
}

/// Builds the schema of a request, member by member.
pub(in crate::http) struct SchemaBuilder {
    description: String,
    properties: Map<String, Value>,
    required: Vec<&'static str>,
}

impl SchemaBuilder {
    pub(in crate::http) fn new(docs: &[&str]) -> Self {
        Self {
            description: text(docs),
            properties: Map::new(),
            required: Vec::new(),
        }
    }

    /// Adds a member.
    pub(in crate::http) fn member(
        &mut self,
        name: &'static str,
        presence: Presence,
        docs: &[&str],
        mut schema: Value,
        example: Option<Value>,
    ) {
        if presence == Presence::Required {
            self.required.push(name);
        }
        if presence == Presence::Nullable {
            schema = nullable(schema);
        }
        schema["description"] = match take_default(&mut schema) {
            Some(default) => format!("{} Left out, it is `{default}`.", text(docs)),
            None => text(docs),
        }
        .into();
        if let Some(example) = example {
            schema["example"] = example;
        }
        self.properties.insert(name.to_owned(), schema);
    }

    /// The schema.
    pub(in crate::http) fn build(self) -> RefOr<Schema> {
        let mut schema = json!({
            "type": "object",
            "description": self.description,
            "properties": self.properties,
            "additionalProperties": false,
        });
        if !self.required.is_empty() {
            schema["required"] = json!(self.required);
        }
        RefOr::T(serde_json::from_value(schema).expect("what is built here is a schema"))
    }
}

/// What leaving the member out means. It is told in words: generators take `default` for a member that is
/// always there, and make callers send it.
fn take_default(schema: &mut Value) -> Option<Value> {
    schema.as_object_mut()?.remove("default")
}

fn nullable(mut schema: Value) -> Value {
    match schema.get("type").cloned() {
        Some(kind) => {
            schema["type"] = json!([kind, "null"]);
            schema
        }
        None => json!({"oneOf": [schema, {"type": "null"}]}),
    }
}

/// The text of doc comments.
fn text(docs: &[&str]) -> String {
    let lines: Vec<&str> = docs.iter().map(|line| line.trim()).collect();
    lines.join("\n")
}

/// Declares a request: each member with how it may be left out, its type, its rule and an example.
///
/// - `required`: absent is a fault.
/// - `optional`: `null` is the same as leaving it out.
/// - `change`: of a merge patch (RFC 7396); left out it stays, `null` is a fault.
/// - `nullable`: of a merge patch; left out it stays, `null` takes it away, which is `Some(None)`.
///
/// ```ignore
/// request! {
///     /// What to charge.
///     struct CreatePaymentRequest {
///         /// The till.
///         optional terminal_id: String = ASCII_NAME, example "T1";
///     }
/// }
/// ```
macro_rules! request {
    (
        $(#[doc = $doc:literal])+
        $(#[expect($($lint:tt)+)])?
        struct $name:ident {
            $(
                $(#[doc = $member_doc:literal])+
                $presence:ident $member:ident: $type:ty = $rule:expr $(, example $example:expr)?;
            )+
        }
    ) => {
        $(#[doc = $doc])+
        $(#[expect($($lint)+)])?
        pub(in crate::http) struct $name {
            $(pub(in crate::http) $member: $crate::http::extract::request::request!(@type $presence $type),)+
        }

        impl $crate::http::extract::request::Request for $name {
            const MEMBERS: &'static [&'static str] = &[$(stringify!($member)),+];

            fn read(reader: &mut $crate::http::extract::ObjectReader) -> Self {
                Self {
                    $($member: $crate::http::extract::request::request!(
                        @read $presence reader, stringify!($member), $rule
                    ),)+
                }
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                use $crate::http::extract::{request::{SchemaBuilder, request}, rules::Rule as _};
                let mut schema = SchemaBuilder::new(&[$($doc),+]);
                $(schema.member(
                    stringify!($member),
                    request!(@presence $presence),
                    &[$($member_doc),+],
                    $rule.schema(),
                    request!(@example $($example)?),
                );)+
                schema.build()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schemas(
                schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>,
            ) {
                use $crate::http::extract::rules::Rule as _;
                $($rule.referred(schemas);)+
            }
        }
    };
    (@type nullable $type:ty) => { Option<Option<$type>> };
    (@type $presence:ident $type:ty) => { Option<$type> };
    (@read required $reader:ident, $name:expr, $rule:expr) => {{
        $reader.require($name);
        $crate::http::extract::rules::Rule::read(&$rule, $reader, $name)
    }};
    (@read optional $reader:ident, $name:expr, $rule:expr) => {
        $crate::http::extract::rules::Rule::read(&$rule, $reader, $name)
    };
    (@read $presence:ident $reader:ident, $name:expr, $rule:expr) => {
        $reader.$presence($name, |reader, name| {
            $crate::http::extract::rules::Rule::read(&$rule, reader, name)
        })
    };
    (@presence required) => { $crate::http::extract::request::Presence::Required };
    (@presence nullable) => { $crate::http::extract::request::Presence::Nullable };
    (@presence $presence:ident) => { $crate::http::extract::request::Presence::Optional };
    (@example) => { None };
    (@example $example:expr) => { Some(serde_json::json!($example)) };
}

pub(in crate::http) use request;

/// A request within a request.
pub(in crate::http) struct Object<R>(std::marker::PhantomData<R>);

/// A member that is an object with members of its own.
pub(in crate::http) const fn object<R>() -> Object<R> {
    Object(std::marker::PhantomData)
}

impl<R: Request + utoipa::ToSchema> Rule for Object<R> {
    type Value = R;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<R> {
        let (members, pointer) = reader.object(name)?;
        let mut inner = ObjectReader::new(members, pointer, reader.faults());
        let object = R::read(&mut inner);
        inner.finish();
        Some(object)
    }

    fn schema(&self) -> Value {
        json!({"$ref": format!("#/components/schemas/{}", R::name())})
    }

    fn referred(&self, schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((R::name().into_owned(), R::schema()));
        R::schemas(schemas);
    }
}

/// An array of such objects.
pub(in crate::http) struct Objects<R> {
    max: usize,
    object: Object<R>,
}

/// A member that is an array of 1 to `max` objects with members of their own.
pub(in crate::http) const fn objects<R>(max: usize) -> Objects<R> {
    Objects {
        max,
        object: object(),
    }
}

impl<R: Request + utoipa::ToSchema> Rule for Objects<R> {
    type Value = Vec<R>;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<Vec<R>> {
        let items = reader.array(name)?;
        if !(1..=self.max).contains(&items.len()) {
            let detail = format!("must have 1 to {} items", self.max);
            reader.fault(name, "out_of_range", detail);
            return None;
        }
        let read = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let pointer = format!("{}/{index}", reader.pointer_to(name));
                let Some(members) = item.members() else {
                    let faults = reader.faults();
                    faults.add(pointer, "wrong_type", "must be an object");
                    return None;
                };
                let mut inner = ObjectReader::new(members, pointer, reader.faults());
                let object = R::read(&mut inner);
                inner.finish();
                Some(object)
            })
            .collect::<Vec<Option<R>>>();
        read.into_iter().collect()
    }

    fn schema(&self) -> Value {
        json!({
            "type": "array",
            "items": self.object.schema(),
            "minItems": 1,
            "maxItems": self.max,
        })
    }

    fn referred(&self, schemas: &mut Vec<(String, RefOr<Schema>)>) {
        self.object.referred(schemas);
    }
}
