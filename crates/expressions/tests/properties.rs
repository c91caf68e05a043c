//! Whatever the text and whatever the data: an answer, in bounded time, on a small stack.

use std::sync::Arc;

use knarr_expressions::{Budget, Declaration, Env, Failure, Meaning, Property, Shape, Value, compile};
use proptest::prelude::*;
use serde_json::json;

fn root() -> Arc<Shape> {
    let string = Arc::new(Shape::string(None, None));
    let list = Arc::new(Shape::list(string.clone(), None, Meaning::Atomic));
    let numbers = Arc::new(Shape::list(Arc::new(Shape::integer()), None, Meaning::Set));
    let map = Arc::new(Shape::map(string.clone(), None));
    let properties = [("s", string), ("l", list), ("n", numbers), ("m", map), ("d", Arc::new(Shape::dynamic()))];
    let properties = properties.map(|(name, shape)| Property { name, shape, required: false });
    Arc::new(Shape::object("root".to_owned(), properties))
}

fn run(text: &str) -> Option<(u64, Result<String, Failure>)> {
    let root = root();
    let env = Env::new().with("self", Declaration::Data(root.clone()));
    let env = env.with_patches().with_bindings().with_includes();
    let program = compile(text, &env).ok()?;
    let words: Vec<String> = (0..200).map(|n| format!("word-{n}")).collect();
    let object =
        json!({"s": "x".repeat(2000), "l": words, "n": [1, 2, 3], "m": {"a": "b"}, "d": {"deep": [1, "a", null]}});
    let vars = [("self", Value::of(&object, &root).expect("the object fits its shape"))];
    let mut budget = Budget::default();
    let before = budget.remaining();
    let outcome = program.evaluate(&vars, &mut budget).and_then(|value| value.shown());
    Some((before - budget.remaining(), outcome))
}

/// Texts that look like expressions.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("self.s".to_owned()),
        Just("self.l".to_owned()),
        Just("self.n".to_owned()),
        Just("self.m".to_owned()),
        Just("self.d".to_owned()),
        Just("x".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:?}")),
        "[a-z0-9:/.%\\-]{0,6}".prop_map(|text| format!("'{text}'")),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| larger(inner.boxed()))
}

/// An expression made of smaller ones.
fn larger(inner: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let methods = prop::sample::select(vec![
        "size",
        "sum",
        "max",
        "min",
        "isSorted",
        "sort",
        "distinct",
        "reverse",
        "flatten",
        "join",
        "trim",
        "first",
        "last",
        "value",
        "hasValue",
        "lowerAscii",
        "getHours",
        "family",
        "masked",
        "major",
        "asInteger",
        "unwrapOpt",
    ]);
    let with_one = prop::sample::select(vec![
        "contains",
        "matches",
        "find",
        "findAll",
        "split",
        "join",
        "indexOf",
        "lastIndexOf",
        "substring",
        "charAt",
        "format",
        "or",
        "orValue",
        "containsIP",
        "validate",
        "getMinutes",
        "add",
        "compareTo",
        "startsWith",
    ]);
    let folds =
        prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter", "sortBy", "optMap", "optFlatMap"]);
    let functions = prop::sample::select(vec![
        "size",
        "int",
        "uint",
        "double",
        "string",
        "bool",
        "bytes",
        "duration",
        "timestamp",
        "type",
        "dyn",
        "url",
        "quantity",
        "ip",
        "cidr",
        "semver",
        "isURL",
        "isIP",
        "lists.range",
        "optional.of",
        "strings.quote",
    ]);
    let operators =
        prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", ">=", "&&", "||", "in", "? 1 :"]);
    prop_oneof![
        (inner.clone(), methods).prop_map(|(of, name)| format!("{of}.{name}()")),
        (inner.clone(), with_one, inner.clone()).prop_map(|(of, name, arg)| format!("{of}.{name}({arg})")),
        (inner.clone(), folds, inner.clone()).prop_map(|(of, name, body)| format!("{of}.{name}(x, {body})")),
        (inner.clone(), inner.clone()).prop_map(|(of, body)| format!("{of}.transformMap(x, y, {body})")),
        (inner.clone(), inner.clone(), inner.clone()).prop_map(|(of, a, b)| format!("{of}.replace({a}, {b})")),
        (functions, inner.clone()).prop_map(|(name, arg)| format!("{name}({arg})")),
        (inner.clone(), operators, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
        (inner.clone(), inner.clone()).prop_map(|(of, at)| format!("{of}[{at}]")),
        (inner.clone(), inner.clone()).prop_map(|(of, at)| format!("{of}[?{at}]")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
        inner.clone().prop_map(|of| format!("dyn({of})")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("cel.bind(x, {a}, {b})")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("Object{{a: {a}, ?b: {b}}}")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("JSONPatch{{op: {a}, value: {b}}}")),
        (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}.includes({b})")),
        inner.prop_map(|of| format!("{of}.?a.b")),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_ends_within_its_budget(text in expression()) {
        if let Some((spent, _)) = run(&text) {
            prop_assert!(spent <= 1_000_000, "{} for {}", spent, text);
        }
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,60}") {
        run(&text);
    }

    #[test]
    fn any_mix_of_tokens_is_answered(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "self", ".", "s", "(", ")", "[", "]", "{", "}", ",", ":", "?", "!", "-", "+", "*", "1", "0x", "'a'",
                "b'\\xff'", "r'", "\"", "in", "true", "null", "has", "all", "x", "&&", "cel.bind", "Object", "||", "==", " ", "\n", "//", "\\",
            ]),
            0..40,
        )
    ) {
        run(&tokens.concat());
    }
}

#[test]
fn the_deepest_expressions_fit_a_small_stack() {
    let small = std::thread::Builder::new().stack_size(1 << 20);
    let deepest = small.spawn(|| {
        for depth in [90, 240] {
            for text in [
                format!("{}1{} == 1", "(".repeat(depth), ")".repeat(depth)),
                format!("{}1{} == [1]", "[".repeat(depth), "]".repeat(depth)),
                format!("1{} > 0", " + 1".repeat(depth)),
                format!("{}true", "true ? true : ".repeat(depth)),
                format!("{}true{}", "[1].all(x, ".repeat(depth), ")".repeat(depth)),
                format!("'a'{} == 'a'", ".trim()".repeat(depth)),
                format!("dyn(self){}", ".a".repeat(depth)),
                format!("optional.of(1){}.hasValue()", ".optMap(x, x)".repeat(depth)),
                format!("{}1{} == 1", "int(".repeat(depth), ")".repeat(depth)),
                format!("{}x{} == 1", "cel.bind(x, 1, ".repeat(depth), ")".repeat(depth)),
                format!("{}1{} == 1", "cel.bind(x, ".repeat(depth), ", x)".repeat(depth)),
                format!("{}x{} > 1", format!("cel.bind(x, x{}, ", " + 1".repeat(20)).repeat(depth), ")".repeat(depth)),
                format!("{}{} == Object{{}}", "Object{a: ".repeat(depth), "}".repeat(depth)),
            ] {
                run(&text);
            }
        }
    });
    deepest.unwrap().join().unwrap();
}

#[test]
fn what_would_take_long_or_much_is_stopped() {
    for text in [
        "lists.range(1000000000000).size() > 0",
        "lists.range(100000).map(x, x).distinct().size() > 0",
        "lists.range(900000).all(x, lists.range(900000).all(y, true))",
        "self.l.all(a, self.l.all(b, self.l.all(c, self.l.all(d, a + b + c + d != ''))))",
        "self.s.replace('', self.s).replace('', self.s).size() > 0",
        "self.l.map(x, self.s).join(self.s).replace('x', self.s).size() > 0",
        "'%.99999999f'.format([1.0]).size() > 0",
        "self.l.exists(x, self.l.exists(y, self.s.matches(x + y + '(\\\\pL{5}){3}')))",
        "sets.contains(lists.range(5000), lists.range(5000))",
        "lists.range(100000).map(x, {'k': self.l}).size() > 0",
    ] {
        let start = std::time::Instant::now();
        let (_, outcome) = run(text).unwrap_or_else(|| panic!("{text} is refused"));
        assert!(start.elapsed().as_secs() < 20, "{text} took {:?}", start.elapsed());
        assert_eq!(outcome, Err(Failure::TooCostly), "{text}");
    }
}
