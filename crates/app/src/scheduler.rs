//! The scheduler's own configuration file, a `KubeSchedulerConfiguration`.

use control::scheduler::{Config, config};

use crate::settings::Fault;

/// Reads the file at `path`, named at `place`; no path means the defaults.
pub(crate) fn config(path: &str, place: &str) -> Result<Config, Vec<Fault>> {
    if path.is_empty() {
        return Ok(Config::default());
    }
    let fault = |place: &str, problem: String| Fault { place: place.to_owned(), problem };
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![fault(place, format!("cannot read the scheduler's configuration {path}: {error}"))])?;
    let value: serde_json::Value =
        serde_saphyr::from_str(&text).map_err(|error| vec![fault(path, format!("not YAML: {error}"))])?;
    let told = |one: config::Fault| fault(path, one.to_string());
    let read = config::read(&value).map_err(|faults| faults.into_iter().map(told).collect::<Vec<Fault>>())?;
    for warning in &read.warnings {
        tracing::warn!("{path}: {warning}");
    }
    Ok(read.config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_and_its_faults_name_file_and_field() {
        assert!(config("", "--scheduler-config").expect("defaults").profiles.is_empty());
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("scheduler.yaml");
        let path = file.to_str().expect("a path");
        let faults = config(path, "--scheduler-config").expect_err("no file");
        assert_eq!(faults[0].place, "--scheduler-config");
        let text = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nprofiles:\n- schedulerName: mine\n";
        std::fs::write(&file, text).expect("written");
        assert_eq!(config(path, "").expect("a configuration").profiles[0].name, "mine");
        std::fs::write(&file, format!("{text}parallelism: 0\n")).expect("written");
        let faults = config(path, "").expect_err("a fault");
        let expected = "parallelism: Invalid value: 0: should be an integer value greater than zero";
        assert_eq!((faults[0].place.as_str(), faults[0].problem.as_str()), (path, expected));
    }
}
