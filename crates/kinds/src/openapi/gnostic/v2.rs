//! The messages of OpenAPI v2, as far as documents of an API server use them. Numbers are those of gnostic's `openapi.v2`.

use super::{Form, Message, Object};

pub(super) static DOCUMENT: Message = Message {
    members: &[
        ("swagger", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("host", 3, Form::Text),
        ("basePath", 4, Form::Text),
        ("schemes", 5, TEXTS),
        ("consumes", 6, TEXTS),
        ("produces", 7, TEXTS),
        ("paths", 8, Form::Message(&PATHS)),
        ("definitions", 9, Form::Map(&SCHEMA_FORM)),
        ("parameters", 10, Form::Map(&Form::Choice(parameter))),
        ("security", 12, Form::Each(&SECURITY)),
        ("securityDefinitions", 13, Form::Map(&Form::Choice(security_definition))),
    ],
    extensions: 16,
    others: None,
};

const TEXTS: Form = Form::Each(&Form::Text);
const SCHEMA: Form = Form::Message(&SCHEMA_MESSAGE);
static SCHEMA_FORM: Form = Form::Message(&SCHEMA_MESSAGE);
/// Which scheme, with which scopes: named lists of texts.
const SECURITY: Form = Form::Map(&Form::Texts);

static INFO: Message = Message {
    members: &[("title", 1, Form::Text), ("version", 2, Form::Text), ("description", 3, Form::Text)],
    extensions: 7,
    others: None,
};

static PATHS: Message = Message { members: &[], extensions: 1, others: Some((2, Form::Message(&PATH_ITEM))) };

const OPERATION: Form = Form::Message(&OPERATION_MESSAGE);

static PATH_ITEM: Message = Message {
    members: &[
        ("$ref", 1, Form::Text),
        ("get", 2, OPERATION),
        ("put", 3, OPERATION),
        ("post", 4, OPERATION),
        ("delete", 5, OPERATION),
        ("options", 6, OPERATION),
        ("head", 7, OPERATION),
        ("patch", 8, OPERATION),
        ("parameters", 9, PARAMETERS),
    ],
    extensions: 10,
    others: None,
};

const PARAMETERS: Form = Form::Each(&Form::Choice(parameter_or_reference));

static OPERATION_MESSAGE: Message = Message {
    members: &[
        ("tags", 1, TEXTS),
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("produces", 6, TEXTS),
        ("consumes", 7, TEXTS),
        ("parameters", 8, PARAMETERS),
        ("responses", 9, Form::Message(&RESPONSES)),
        ("schemes", 10, TEXTS),
        ("deprecated", 11, Form::Bool),
        ("security", 12, Form::Each(&SECURITY)),
    ],
    extensions: 13,
    others: None,
};

fn parameter_or_reference(object: &Object<'_>) -> (u8, Form) {
    if object.is_reference() { (2, Form::Message(&REFERENCE)) } else { (1, Form::Choice(parameter)) }
}

fn parameter(object: &Object<'_>) -> (u8, Form) {
    if object.text("in") == Some(b"body") { (1, Form::Message(&BODY)) } else { (2, Form::Choice(non_body)) }
}

fn non_body(object: &Object<'_>) -> (u8, Form) {
    match object.text("in") {
        Some(b"header") => (1, Form::Message(&IN_HEAD)),
        Some(b"formData") => (2, Form::Message(&IN_QUERY)),
        Some(b"path") => (4, Form::Message(&IN_HEAD)),
        _ => (3, Form::Message(&IN_QUERY)),
    }
}

static REFERENCE: Message =
    Message { members: &[("$ref", 1, Form::Text), ("description", 2, Form::Text)], extensions: 0, others: None };

static BODY: Message = Message {
    members: &[
        ("description", 1, Form::Text),
        ("name", 2, Form::Text),
        ("in", 3, Form::Text),
        ("required", 4, Form::Bool),
        ("schema", 5, SCHEMA),
    ],
    extensions: 6,
    others: None,
};

/// Parameters of the query and of forms.
static IN_QUERY: Message = Message {
    members: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("allowEmptyValue", 5, Form::Bool),
        ("type", 6, Form::Text),
        ("format", 7, Form::Text),
        ("collectionFormat", 9, Form::Text),
        ("default", 10, Form::Any),
        ("uniqueItems", 20, Form::Bool),
        ("enum", 21, Form::Each(&Form::Any)),
    ],
    extensions: 23,
    others: None,
};

/// Parameters of the path and of headers.
static IN_HEAD: Message = Message {
    members: &[
        ("required", 1, Form::Bool),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("name", 4, Form::Text),
        ("type", 5, Form::Text),
        ("format", 6, Form::Text),
        ("collectionFormat", 8, Form::Text),
        ("default", 9, Form::Any),
        ("uniqueItems", 19, Form::Bool),
        ("enum", 20, Form::Each(&Form::Any)),
    ],
    extensions: 22,
    others: None,
};

static RESPONSES: Message =
    Message { members: &[], extensions: 2, others: Some((1, Form::Choice(response_or_reference))) };

fn response_or_reference(object: &Object<'_>) -> (u8, Form) {
    if object.is_reference() { (2, Form::Message(&REFERENCE)) } else { (1, Form::Message(&RESPONSE)) }
}

static RESPONSE: Message = Message {
    members: &[("description", 1, Form::Text), ("schema", 2, Form::Choice(|_| (1, SCHEMA)))],
    extensions: 5,
    others: None,
};

static SCHEMA_MESSAGE: Message = Message {
    members: &[
        ("$ref", 1, Form::Text),
        ("format", 2, Form::Text),
        ("title", 3, Form::Text),
        ("description", 4, Form::Text),
        ("default", 5, Form::Any),
        ("multipleOf", 6, Form::Double),
        ("maximum", 7, Form::Double),
        ("exclusiveMaximum", 8, Form::Bool),
        ("minimum", 9, Form::Double),
        ("exclusiveMinimum", 10, Form::Bool),
        ("maxLength", 11, Form::Integer),
        ("minLength", 12, Form::Integer),
        ("pattern", 13, Form::Text),
        ("maxItems", 14, Form::Integer),
        ("minItems", 15, Form::Integer),
        ("uniqueItems", 16, Form::Bool),
        ("maxProperties", 17, Form::Integer),
        ("minProperties", 18, Form::Integer),
        ("required", 19, TEXTS),
        ("enum", 20, Form::Each(&Form::Any)),
        ("additionalProperties", 21, Form::Choice(schema_or_flag)),
        ("type", 22, Form::Texts),
        ("items", 23, Form::Items(&SCHEMA_FORM)),
        ("allOf", 24, Form::Each(&SCHEMA_FORM)),
        ("properties", 25, Form::Map(&SCHEMA_FORM)),
        ("discriminator", 26, Form::Text),
        ("readOnly", 27, Form::Bool),
        ("externalDocs", 29, Form::Message(&DOCS)),
        ("example", 30, Form::Any),
    ],
    extensions: 31,
    others: None,
};

fn schema_or_flag(object: &Object<'_>) -> (u8, Form) {
    if object.is_object() { (1, SCHEMA) } else { (2, Form::Bool) }
}

static DOCS: Message =
    Message { members: &[("description", 1, Form::Text), ("url", 2, Form::Text)], extensions: 3, others: None };

fn security_definition(object: &Object<'_>) -> (u8, Form) {
    match object.text("type") {
        Some(b"basic") => (1, Form::Message(&BASIC)),
        _ => (2, Form::Message(&API_KEY)),
    }
}

static BASIC: Message =
    Message { members: &[("type", 1, Form::Text), ("description", 2, Form::Text)], extensions: 3, others: None };

static API_KEY: Message = Message {
    members: &[("type", 1, Form::Text), ("name", 2, Form::Text), ("in", 3, Form::Text), ("description", 4, Form::Text)],
    extensions: 5,
    others: None,
};
