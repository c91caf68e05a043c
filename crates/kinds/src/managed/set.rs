//! Sets of fields: a tree of path elements, some of them members.
//!
//! Invariant: nodes are sorted by element and each is a member or has members below, so two equal sets are equal trees and
//! every operation is one walk over two sorted vectors. A parent and its child are members independently of each other.

use super::element::Element;
use super::shape::Shape;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set<'a> {
    nodes: Vec<Node<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub element: Element<'a>,
    pub member: bool,
    pub below: Set<'a>,
}

impl Node<'_> {
    fn is_void(&self) -> bool {
        !self.member && self.below.is_empty()
    }
}

impl<'a> Set<'a> {
    /// A set of field names: `["metadata", "labels"]` is one path.
    pub(super) fn of(paths: &[&[&'a str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let elements: Vec<Element<'a>> = path.iter().map(|name| Element::Field(name)).collect();
            set.insert(&elements);
        }
        set
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// Makes a path a member.
    pub(super) fn insert(&mut self, path: &[Element<'a>]) {
        let Some((first, rest)) = path.split_first() else { return };
        let index = match self.nodes.binary_search_by(|node| node.element.cmp(first)) {
            Ok(index) => index,
            Err(index) => {
                let node = Node { element: first.clone(), member: false, below: Self::default() };
                self.nodes.insert(index, node);
                index
            }
        };
        if rest.is_empty() {
            self.nodes[index].member = true;
        } else {
            self.nodes[index].below.insert(rest);
        }
    }

    /// Nodes in any order, as a client may write them; those of one element are joined.
    pub(super) fn sorted(mut nodes: Vec<Node<'a>>) -> Self {
        nodes.sort_by(|a, b| a.element.cmp(&b.element));
        let mut set = Self { nodes: Vec::with_capacity(nodes.len()) };
        nodes.into_iter().for_each(|node| set.push(node));
        set
    }

    /// Adds a node; a walk in the order of elements only appends. Nodes that hold nothing are left out.
    pub(super) fn push(&mut self, node: Node<'a>) {
        if node.is_void() {
            return;
        }
        match self.nodes.last() {
            Some(last) if last.element >= node.element => {
                match self.nodes.binary_search_by(|held| held.element.cmp(&node.element)) {
                    Ok(index) => {
                        let held = &mut self.nodes[index];
                        held.member |= node.member;
                        held.below = std::mem::take(&mut held.below).union(node.below);
                    }
                    Err(index) => self.nodes.insert(index, node),
                }
            }
            _ => self.nodes.push(node),
        }
    }

    fn node(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        let index = self.nodes.binary_search_by(|node| node.element.cmp(element)).ok()?;
        self.nodes.get(index)
    }

    pub(super) fn at(&self, element: &Element<'_>) -> Option<&Node<'a>> {
        self.node(element)
    }

    pub(super) fn has(&self, path: &[Element<'_>]) -> bool {
        match path.split_first() {
            None => false,
            Some((first, [])) => self.node(first).is_some_and(|node| node.member),
            Some((first, rest)) => self.node(first).is_some_and(|node| node.below.has(rest)),
        }
    }

    pub(super) fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let mut nodes = Vec::with_capacity(self.nodes.len() + other.nodes.len());
        let (mut left, mut right) = (self.nodes.into_iter().peekable(), other.nodes.into_iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let order = a.element.cmp(&b.element);
            if order.is_lt() {
                nodes.extend(left.next());
            } else if order.is_gt() {
                nodes.extend(right.next());
            } else if let (Some(a), Some(b)) = (left.next(), right.next()) {
                nodes.push(Node { element: a.element, member: a.member || b.member, below: a.below.union(b.below) });
            }
        }
        nodes.extend(left);
        nodes.extend(right);
        Self { nodes }
    }

    pub(super) fn intersection(&self, other: &Set<'_>) -> Self {
        let mut nodes = Vec::new();
        let mut rest = other.nodes.as_slice();
        for node in &self.nodes {
            let Some(met) = meet(&mut rest, &node.element) else { continue };
            let below = node.below.intersection(&met.below);
            let node = Node { element: node.element.clone(), member: node.member && met.member, below };
            if !node.is_void() {
                nodes.push(node);
            }
        }
        Self { nodes }
    }

    /// Takes out every member of `other`, and tells whether there was one. Children of a removed parent stay.
    pub(super) fn subtract(&mut self, other: &Set<'_>) -> bool {
        let mut rest = other.nodes.as_slice();
        let mut changed = false;
        self.nodes.retain_mut(|node| {
            let Some(met) = meet(&mut rest, &node.element) else { return true };
            changed |= node.member && met.member;
            node.member &= !met.member;
            changed |= !met.below.is_empty() && node.below.subtract(&met.below);
            !node.is_void()
        });
        changed
    }

    /// Takes out every member of `other` with all that is below it.
    pub(super) fn subtract_recursively(&mut self, other: &Set<'_>) -> bool {
        let mut rest = other.nodes.as_slice();
        let mut changed = false;
        self.nodes.retain_mut(|node| {
            let Some(met) = meet(&mut rest, &node.element) else { return true };
            if met.member {
                changed = true;
                return false;
            }
            changed |= node.below.subtract_recursively(&met.below);
            !node.is_void()
        });
        changed
    }

    /// Keeps what is at or below one of the patterns of field names; `*` is any element.
    pub(super) fn keep_matching(&mut self, patterns: &[&[&str]]) {
        self.nodes.retain_mut(|node| {
            let fits = |step: &&str| *step == "*" || node.element == Element::Field(step);
            let rests: Vec<&[&str]> = patterns
                .iter()
                .filter_map(|path| path.split_first())
                .filter(|(first, _)| fits(first))
                .map(|(_, rest)| rest)
                .collect();
            if rests.is_empty() {
                return false;
            }
            if !rests.iter().any(|rest| rest.is_empty()) {
                node.below.keep_matching(&rests);
            }
            !node.is_void()
        });
    }

    pub(super) fn is_subset(&self, other: &Set<'_>) -> bool {
        let mut rest = other.nodes.as_slice();
        self.nodes.iter().all(|node| {
            meet(&mut rest, &node.element)
                .is_some_and(|met| (met.member || !node.member) && node.below.is_subset(&met.below))
        })
    }

    /// The set with the declared fields that lead to its members made members too: a struct goes when all of it goes.
    #[must_use]
    pub(super) fn with_named(mut self, shape: Shape<'_>) -> Self {
        for node in &mut self.nodes {
            if node.below.is_empty() {
                continue;
            }
            let inner = shape.below(&node.element);
            node.member |= matches!(node.element, Element::Field(_)) && inner.is_some_and(|(_, declared)| declared);
            let below = std::mem::take(&mut node.below);
            node.below = below.with_named(inner.map_or(Shape::Opaque, |(inner, _)| inner));
        }
        self
    }

    /// Members below what has become atomic since the set was written become one member, the atomic itself.
    /// Tells whether there were such.
    pub(super) fn reconcile(&mut self, shape: Shape<'_>) -> bool {
        let mut changed = false;
        for node in self.nodes.iter_mut().filter(|node| !node.below.is_empty()) {
            let Some((inner, _)) = shape.below(&node.element) else { continue };
            if inner.is_atomic() {
                changed = true;
                node.member = true;
                node.below = Self::default();
            } else {
                changed |= node.below.reconcile(inner);
            }
        }
        changed
    }

    /// Calls `see` with every member: those of a level first, then those below it.
    pub(super) fn each(&self, see: &mut dyn FnMut(&[Element<'a>])) {
        self.each_below(&mut Vec::new(), see);
    }

    fn each_below(&self, path: &mut Vec<Element<'a>>, see: &mut dyn FnMut(&[Element<'a>])) {
        for node in self.nodes.iter().filter(|node| node.member) {
            path.push(node.element.clone());
            see(path);
            path.pop();
        }
        for node in self.nodes.iter().filter(|node| !node.below.is_empty()) {
            path.push(node.element.clone());
            node.below.each_below(path, see);
            path.pop();
        }
    }
}

/// The node of that element in what is left of a sorted list; what comes before it is passed.
fn meet<'n, 'a>(rest: &mut &'n [Node<'a>], element: &Element<'_>) -> Option<&'n Node<'a>> {
    while let Some((first, tail)) = rest.split_first() {
        match first.element.cmp(element) {
            std::cmp::Ordering::Less => *rest = tail,
            std::cmp::Ordering::Equal => {
                *rest = tail;
                return Some(first);
            }
            std::cmp::Ordering::Greater => return None,
        }
    }
    None
}

/// A path as conflicts show it: `.spec.containers[name="web"].image`.
pub(super) fn show(path: &[Element<'_>]) -> String {
    path.iter().map(ToString::to_string).collect()
}
