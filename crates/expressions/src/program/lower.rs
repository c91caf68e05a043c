//! The checked tree as nodes: names become places, constants are made once.
//!
//! Invariant: a variable of a fold or binding has a place of its own for the whole program, so entering a scope at
//! evaluation costs nothing. What upstream works out before evaluating is worked out here, and fails here.

use std::sync::Arc;

use regex::Regex;

use super::Program;
use crate::check::{Checked, Use};
use crate::cost::Cost;
use crate::eval::meter::Budget;
use crate::eval::{Access, BindNode, EntryNode, FoldNode, IndexNode, InitNode, MakeNode, Node, OptMapNode, SelectNode};
use crate::functions::regexes;
use crate::library::Function;
use crate::tree::{Entry, Expr, Fold, Init, Item, Kind, Literal, Tree};
use crate::types::Env;
use crate::value::{Entries, Key, Value};

/// A program; broken if a constant part of it can have no value.
pub(super) fn lower(tree: &Tree, checked: &Checked, env: &Env, cost: Cost) -> Program {
    let mut lowering = Lowering {
        checked,
        scope: Vec::new(),
        slots: 0,
        used: vec![false; env.variables.len()],
        patterns: Vec::new(),
        failed: None,
    };
    let node = lowering.node(&tree.root);
    Program {
        node,
        slots: lowering.slots,
        names: env.variables.iter().map(|(name, _)| name.clone()).collect(),
        used: lowering.used.into(),
        result: checked.ty(&tree.root).clone(),
        cost,
        patterns: lowering.patterns.into(),
        broken: lowering.failed,
    }
}

struct Lowering<'c> {
    checked: &'c Checked,
    scope: Vec<(Box<str>, usize)>,
    slots: usize,
    used: Vec<bool>,
    patterns: Vec<(Arc<str>, Regex)>,
    /// The first constant part that failed.
    failed: Option<String>,
}

impl Lowering<'_> {
    fn node(&mut self, expr: &Expr) -> Node {
        match self.checked.used(expr) {
            Use::Variable(at) => {
                self.used[*at] = true;
                return Node::Variable(*at);
            }
            Use::Type(ty) => return Node::Const(Value::Type(Arc::new(ty.clone()))),
            Use::EmptyName(name) => {
                self.failed.get_or_insert_with(|| format!("reference to undefined type: {name}"));
                return Node::Const(Value::Null);
            }
            Use::None | Use::Local | Use::Call { .. } => {}
        }
        match &expr.kind {
            Kind::Literal(literal) => Node::Const(constant(literal)),
            Kind::Ident(name) => Node::Local(self.slot(name)),
            Kind::Select { operand, field, mode } => {
                let operand = self.node(operand);
                let fresh = !is_path(&operand);
                Node::Select(Box::new(SelectNode { operand, field: (**field).into(), mode: *mode, fresh }))
            }
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.make(name, fields),
            Kind::Fold(fold) => self.fold(fold),
            Kind::Bind(bind) => {
                let value = self.node(&bind.value);
                let slot = self.declare(&bind.name);
                let body = self.inside(1, &bind.body);
                Node::Bind(Box::new(BindNode { slot, value, body }))
            }
            Kind::OptMap(map) => {
                let target = self.node(&map.target);
                let slot = self.declare(&map.name);
                let body = self.inside(1, &map.body);
                let used = mentions(&map.body, &map.name);
                Node::OptMap(Box::new(OptMapNode { slot, target, body, flat: map.flat, used }))
            }
        }
    }

    fn list(&mut self, items: &[Item]) -> Node {
        let mut nodes = Vec::with_capacity(items.len());
        for item in items {
            nodes.push((self.node(&item.value), item.optional));
        }
        constant_list(&nodes).unwrap_or_else(|| Node::List(nodes.into()))
    }

    fn map(&mut self, entries: &[Entry]) -> Node {
        let mut nodes = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = self.node(&entry.key);
            nodes.push(EntryNode { key, value: self.node(&entry.value), optional: entry.optional });
        }
        constant_map(&nodes).unwrap_or_else(|| Node::Map(nodes.into()))
    }

    fn make(&mut self, name: &str, inits: &[Init]) -> Node {
        let mut fields = Vec::with_capacity(inits.len());
        for init in inits {
            let value = self.node(&init.value);
            fields.push(InitNode { field: (*init.field).into(), value, optional: init.optional });
        }
        Node::Make(Box::new(MakeNode { name: name.into(), fields: fields.into() }))
    }

    fn fold(&mut self, fold: &Fold) -> Node {
        let range = self.node(&fold.range);
        let slot = self.declare(&fold.variable);
        let second = fold.second.as_ref().map(|name| self.declare(name));
        let filter = fold.filter.as_ref().map(|filter| self.node(filter));
        let body = self.inside(1 + usize::from(second.is_some()), &fold.body);
        Node::Fold(Box::new(FoldNode { folding: fold.folding, range, slot, second, filter, body }))
    }

    /// A part in which the last variables are known, which then end.
    fn inside(&mut self, variables: usize, body: &Expr) -> Node {
        let node = self.node(body);
        self.scope.truncate(self.scope.len() - variables);
        node
    }

    fn declare(&mut self, name: &str) -> usize {
        self.scope.push((name.into(), self.slots));
        self.slots += 1;
        self.slots - 1
    }

    fn slot(&self, name: &str) -> usize {
        let found = self.scope.iter().rev().find(|(known, _)| &**known == name);
        found.expect("invariant: the checker has seen every local name").1
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, name: &str, args: &[Expr]) -> Node {
        let Use::Call { function, namespaced, .. } = self.checked.used(expr) else {
            unreachable!("invariant: a checked call has a function")
        };
        let target = target.filter(|_| !namespaced);
        let mut nodes = Vec::with_capacity(args.len() + 1);
        if let Some(target) = target {
            nodes.push(self.node(target));
        }
        for arg in args {
            nodes.push(self.node(arg));
        }
        self.called(function, name, args.len(), nodes)
    }

    fn called(&mut self, function: &'static Function, name: &str, args: usize, mut nodes: Vec<Node>) -> Node {
        if matches!(function.name, "matches" | "find" | "findAll") {
            self.remember(nodes.get(1));
        }
        let among = name == "@in" && nodes.get(1).is_some_and(is_plain_list);
        let mut next = || nodes.remove(0);
        match (name, args) {
            ("_&&_", _) => Node::And(nodes.into()),
            ("_||_", _) => Node::Or(nodes.into()),
            ("_?_:_", _) => Node::Conditional(Box::new([next(), next(), next()])),
            ("_[_]", _) => index(next(), next(), Access::Plain),
            ("_[?_]", _) => index(next(), next(), Access::Optional),
            ("@in", _) if among => Node::Among(Box::new([next(), next()])),
            ("orValue", 1) => Node::OrElse(Box::new([next(), next()]), Access::Plain),
            ("or", 1) => Node::OrElse(Box::new([next(), next()]), Access::Optional),
            _ => self.converted(function, &nodes).unwrap_or_else(|| Node::Call(function, nodes.into())),
        }
    }

    /// A conversion of a constant, made once.
    fn converted(&mut self, function: &Function, nodes: &[Node]) -> Option<Node> {
        let [Node::Const(value)] = nodes else { return None };
        if !CONVERSIONS.contains(&function.name) {
            return None;
        }
        match (function.run)(&mut Budget::default().meter(&[]), std::slice::from_ref(value)) {
            Ok(value) => Some(Node::Const(value)),
            Err(failure) => {
                self.failed.get_or_insert(failure.to_string());
                None
            }
        }
    }

    /// Compiles a constant pattern once.
    fn remember(&mut self, pattern: Option<&Node>) {
        let Some(Node::Const(Value::Text(pattern))) = pattern else { return };
        match regexes::compile(pattern) {
            Ok(regex) => self.patterns.push((pattern.clone(), regex)),
            Err(message) => {
                self.failed.get_or_insert(message);
            }
        }
    }
}

const CONVERSIONS: [&str; 10] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

/// Whether an expression mentions a name; not whether it means this one.
fn mentions(expr: &Expr, name: &str) -> bool {
    let mut open = vec![expr];
    while let Some(expr) = open.pop() {
        if matches!(&expr.kind, Kind::Ident(found) if **found == *name) {
            return true;
        }
        open.extend(expr.children());
    }
    false
}

/// Whether a node is a variable or a part of one.
fn is_path(node: &Node) -> bool {
    matches!(node, Node::Variable(_) | Node::Local(_) | Node::Select(_) | Node::Index(..))
}

fn index(operand: Node, index: Node, access: Access) -> Node {
    let fresh = !is_path(&operand);
    let by_path = is_path(&index);
    Node::Index(Box::new(IndexNode { operand, index, access, fresh, by_path }))
}

/// A constant list of numbers, strings and booleans.
fn is_plain_list(node: &Node) -> bool {
    let Node::Const(Value::List(items, _)) = node else { return false };
    items
        .iter()
        .all(|item| matches!(item, Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Double(_) | Value::Text(_)))
}

fn constant(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::text(&**text),
        Literal::Bytes(bytes) => Value::Bytes(bytes.clone().into()),
    }
}

fn constant_list(nodes: &[(Node, bool)]) -> Option<Node> {
    let values = nodes.iter().map(|node| match node {
        (Node::Const(value), false) => Some(value.clone()),
        _ => None,
    });
    Some(Node::Const(Value::list(values.collect::<Option<Vec<_>>>()?)))
}

fn constant_map(nodes: &[EntryNode]) -> Option<Node> {
    let mut entries = Entries::new();
    for node in nodes {
        let EntryNode { key: Node::Const(key), value: Node::Const(value), optional: false } = node else {
            return None;
        };
        entries.insert(Key::of(key)?, (key.clone(), value.clone()));
    }
    Some(Node::Const(Value::Map(Arc::new(entries))))
}
