//! What must hold for every kind and every object.

use proptest::prelude::*;
use serde_json::Value;

use crate::testing::{Dice, sample};
use crate::{Catalog, Kind, coerce, convert, default, prune, selectable_fields, strategy};
use crate::{
    validate_approval, validate_create, validate_ephemeral_containers, validate_finalize, validate_resize,
    validate_status, validate_update, warnings,
};

fn kind(index: usize) -> &'static Kind {
    let kinds = Catalog::builtin().kinds();
    &kinds[index % kinds.len()]
}

fn write_all(kind: &Kind, mut value: Value, old: &Value) {
    let mut other = value.clone();
    drop(coerce(kind, &value));
    drop(prune(kind, &mut value));
    default(kind, &mut value);
    strategy::prepare_create(kind, &mut value);
    drop(validate_create(kind, &value));
    strategy::prepare_update(kind, &mut other, old);
    drop(validate_update(kind, &other, old));
    drop(validate_update(kind, &value, old));
    for validate in
        [validate_ephemeral_containers, validate_resize, validate_status, validate_approval, validate_finalize]
    {
        drop(validate(kind, &value, old));
        drop(validate(kind, old, &value));
    }
    drop(warnings(kind, &value, None));
    drop(warnings(kind, &value, Some(old)));
    for prepare in [strategy::prepare_finalize, strategy::prepare_approval, strategy::prepare_ephemeral_containers] {
        prepare(kind, &mut other.clone(), old);
    }
    strategy::prepare_status_update(kind, &mut other, old);
    strategy::scale_set(kind, &mut other, 3);
    drop(strategy::scale_get(kind, &other));
    assert!(strategy::deletion_grace(kind, &other).is_none_or(|seconds| seconds >= 0));
    drop(selectable_fields(kind, &other));
    for version in Catalog::builtin().kinds().iter().filter(|row| row.kind == kind.kind) {
        convert(&mut other.clone(), kind, version);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pruning_keeps_every_known_field(index in 0usize..1000, seed: u64) {
        let kind = kind(index);
        let mut value = sample(kind.schema, &mut Dice(seed), 0);
        let before = value.clone();
        prop_assert_eq!(prune(kind, &mut value), vec![]);
        prop_assert_eq!(value, before);
    }

    #[test]
    fn values_of_the_right_types_are_accepted(index in 0usize..1000, seed: u64) {
        let kind = kind(index);
        prop_assert_eq!(coerce(kind, &sample(kind.schema, &mut Dice(seed), 0)), Ok(()));
    }

    #[test]
    fn defaulting_twice_changes_nothing(index in 0usize..1000, seed: u64) {
        let kind = kind(index);
        let mut value = sample(kind.schema, &mut Dice(seed), 0);
        default(kind, &mut value);
        let once = value.clone();
        default(kind, &mut value);
        prop_assert_eq!(&value, &once);
        prop_assert_eq!(coerce(kind, &value), Ok(()), "defaults have the types of their fields");
        prop_assert_eq!(prune(kind, &mut value), vec![], "defaults are known fields");
    }

    #[test]
    fn no_object_makes_the_engine_panic(index in 0usize..1000, seed: u64, wild in 0usize..12) {
        let kind = kind(index);
        let mut dice = Dice(seed);
        let old = sample(kind.schema, &mut dice, wild);
        write_all(kind, sample(kind.schema, &mut dice, wild), &old);
    }

    #[test]
    fn an_unchanged_object_passes_the_rules_of_change(index in 0usize..1000, seed: u64) {
        let kind = kind(index);
        let mut old = sample(kind.schema, &mut Dice(seed), 0);
        default(kind, &mut old);
        strategy::prepare_create(kind, &mut old);
        let mut new = old.clone();
        strategy::prepare_update(kind, &mut new, &old);
        prop_assert_eq!(&new, &old, "an update without a change changes nothing");
        strategy::prepare_status_update(kind, &mut new, &old);
        prop_assert_eq!(&new, &old, "nor does one of the status");
    }
}

#[test]
fn odd_values_at_the_top_are_harmless() {
    for kind in Catalog::builtin().kinds() {
        for value in [Value::Null, Value::from(1), Value::from("x"), Value::Array(vec![Value::Null])] {
            write_all(kind, value.clone(), &value);
        }
    }
}
