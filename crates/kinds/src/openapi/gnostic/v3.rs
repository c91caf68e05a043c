//! The messages of OpenAPI v3, as far as documents of an API server use them. Numbers are those of gnostic's `openapi.v3`.

use super::{Form, Message, Object};

pub(super) static DOCUMENT: Message = Message {
    members: &[
        ("openapi", 1, Form::Text),
        ("info", 2, Form::Message(&INFO)),
        ("paths", 4, Form::Message(&PATHS)),
        ("components", 5, Form::Message(&COMPONENTS)),
        ("security", 6, Form::Each(&SECURITY)),
    ],
    extensions: 9,
    others: None,
};

const TEXTS: Form = Form::Each(&Form::Text);
const SCHEMA: Form = Form::Choice(schema_or_reference);
static SCHEMA_FORM: Form = SCHEMA;
const SECURITY: Form = Form::Map(&Form::Texts);

static INFO: Message = Message {
    members: &[
        ("title", 1, Form::Text),
        ("description", 2, Form::Text),
        ("version", 6, Form::Text),
        ("summary", 8, Form::Text),
    ],
    extensions: 7,
    others: None,
};

static COMPONENTS: Message = Message {
    members: &[
        ("schemas", 1, Form::Map(&SCHEMA_FORM)),
        ("parameters", 3, Form::Map(&Form::Choice(parameter_or_reference))),
        ("securitySchemes", 7, Form::Map(&Form::Choice(|_| (1, Form::Message(&SECURITY_SCHEME))))),
    ],
    extensions: 10,
    others: None,
};

static PATHS: Message = Message { members: &[], extensions: 2, others: Some((1, Form::Message(&PATH_ITEM))) };

const OPERATION: Form = Form::Message(&OPERATION_MESSAGE);

static PATH_ITEM: Message = Message {
    members: &[
        ("$ref", 1, Form::Text),
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("get", 4, OPERATION),
        ("put", 5, OPERATION),
        ("post", 6, OPERATION),
        ("delete", 7, OPERATION),
        ("options", 8, OPERATION),
        ("head", 9, OPERATION),
        ("patch", 10, OPERATION),
        ("parameters", 13, PARAMETERS),
    ],
    extensions: 14,
    others: None,
};

const PARAMETERS: Form = Form::Each(&Form::Choice(parameter_or_reference));

static OPERATION_MESSAGE: Message = Message {
    members: &[
        ("tags", 1, TEXTS),
        ("summary", 2, Form::Text),
        ("description", 3, Form::Text),
        ("operationId", 5, Form::Text),
        ("parameters", 6, PARAMETERS),
        ("requestBody", 7, Form::Choice(|_| (1, Form::Message(&REQUEST_BODY)))),
        ("responses", 8, Form::Message(&RESPONSES)),
        ("deprecated", 10, Form::Bool),
        ("security", 11, Form::Each(&SECURITY)),
    ],
    extensions: 13,
    others: None,
};

fn parameter_or_reference(object: &Object<'_>) -> (u8, Form) {
    if object.is_reference() { (2, REFERENCE) } else { (1, Form::Message(&PARAMETER)) }
}

fn schema_or_reference(object: &Object<'_>) -> (u8, Form) {
    if object.is_reference() { (2, REFERENCE) } else { (1, Form::Message(&SCHEMA_MESSAGE)) }
}

fn response_or_reference(object: &Object<'_>) -> (u8, Form) {
    if object.is_reference() { (2, REFERENCE) } else { (1, Form::Message(&RESPONSE)) }
}

const REFERENCE: Form = Form::Message(&REFERENCE_MESSAGE);

static REFERENCE_MESSAGE: Message = Message {
    members: &[("$ref", 1, Form::Text), ("summary", 2, Form::Text), ("description", 3, Form::Text)],
    extensions: 0,
    others: None,
};

static PARAMETER: Message = Message {
    members: &[
        ("name", 1, Form::Text),
        ("in", 2, Form::Text),
        ("description", 3, Form::Text),
        ("required", 4, Form::Bool),
        ("deprecated", 5, Form::Bool),
        ("allowEmptyValue", 6, Form::Bool),
        ("schema", 10, SCHEMA),
    ],
    extensions: 14,
    others: None,
};

static REQUEST_BODY: Message = Message {
    members: &[("description", 1, Form::Text), ("content", 2, CONTENT), ("required", 3, Form::Bool)],
    extensions: 4,
    others: None,
};

const CONTENT: Form = Form::Map(&Form::Message(&MEDIA_TYPE));

static MEDIA_TYPE: Message = Message { members: &[("schema", 1, SCHEMA)], extensions: 5, others: None };

static RESPONSES: Message = Message {
    members: &[("default", 1, Form::Choice(response_or_reference))],
    extensions: 3,
    others: Some((2, Form::Choice(response_or_reference))),
};

static RESPONSE: Message =
    Message { members: &[("description", 1, Form::Text), ("content", 3, CONTENT)], extensions: 5, others: None };

static SECURITY_SCHEME: Message = Message {
    members: &[
        ("type", 1, Form::Text),
        ("description", 2, Form::Text),
        ("name", 3, Form::Text),
        ("in", 4, Form::Text),
        ("scheme", 5, Form::Text),
        ("bearerFormat", 6, Form::Text),
    ],
    extensions: 9,
    others: None,
};

static SCHEMA_MESSAGE: Message = Message {
    members: &[
        ("nullable", 1, Form::Bool),
        ("readOnly", 3, Form::Bool),
        ("writeOnly", 4, Form::Bool),
        ("externalDocs", 6, Form::Message(&DOCS)),
        ("example", 7, Form::Any),
        ("deprecated", 8, Form::Bool),
        ("title", 9, Form::Text),
        ("multipleOf", 10, Form::Double),
        ("maximum", 11, Form::Double),
        ("exclusiveMaximum", 12, Form::Bool),
        ("minimum", 13, Form::Double),
        ("exclusiveMinimum", 14, Form::Bool),
        ("maxLength", 15, Form::Integer),
        ("minLength", 16, Form::Integer),
        ("pattern", 17, Form::Text),
        ("maxItems", 18, Form::Integer),
        ("minItems", 19, Form::Integer),
        ("uniqueItems", 20, Form::Bool),
        ("maxProperties", 21, Form::Integer),
        ("minProperties", 22, Form::Integer),
        ("required", 23, TEXTS),
        ("enum", 24, Form::Each(&Form::Any)),
        ("type", 25, Form::Text),
        ("allOf", 26, Form::Each(&SCHEMA_FORM)),
        ("oneOf", 27, Form::Each(&SCHEMA_FORM)),
        ("anyOf", 28, Form::Each(&SCHEMA_FORM)),
        ("not", 29, Form::Message(&SCHEMA_MESSAGE)),
        ("items", 30, Form::Items(&SCHEMA_FORM)),
        ("properties", 31, Form::Map(&SCHEMA_FORM)),
        ("additionalProperties", 32, Form::Choice(schema_or_flag)),
        ("default", 33, Form::Scalar),
        ("description", 34, Form::Text),
        ("format", 35, Form::Text),
    ],
    extensions: 36,
    others: None,
};

fn schema_or_flag(object: &Object<'_>) -> (u8, Form) {
    if object.is_object() { (1, SCHEMA) } else { (2, Form::Bool) }
}

static DOCS: Message =
    Message { members: &[("description", 1, Form::Text), ("url", 2, Form::Text)], extensions: 3, others: None };
