use std::{
    io,
    path::{Path, PathBuf},
};

use netbearer_profiles::{TextFileError, read_text};
use netbearer_types::SteeringPlan;

/// Why `steering.toml` could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SteeringFileError {
    /// The file could not be read.
    #[error("{path} could not be read", path = path.display())]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: TextFileError,
    },
    /// The file is no plan of tables and marks; the source names line and column.
    #[error("{path} says nothing that tables and marks could be made of", path = path.display())]
    Malformed {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: Box<toml::de::Error>,
    },
}

/// Reads `steering.toml`. No file means the plan that NetBearer has without one.
///
/// # Errors
/// When the file is unreadable or malformed.
pub fn read_steering_plan(configuration_directory: &Path) -> Result<SteeringPlan, SteeringFileError> {
    let path = configuration_directory.join("steering.toml");
    let text = match read_text(&path) {
        Ok(text) => text,
        Err(TextFileError::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(SteeringPlan::default());
        }
        Err(source) => return Err(SteeringFileError::Unreadable { path, source }),
    };
    toml::from_str(&text).map_err(|source| SteeringFileError::Malformed { path, source: Box::new(source) })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(text: &str) -> Result<SteeringPlan, SteeringFileError> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("steering.toml"), text).unwrap();
        read_steering_plan(directory.path())
    }

    #[test]
    fn what_is_left_out_is_as_without_a_file() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(read_steering_plan(directory.path()).unwrap(), SteeringPlan::default());
        assert_eq!(read("").unwrap(), SteeringPlan::default());
        let plan = read("first_table = 30000\nmark_fields = [\"0x7f0000\", \"0x7f\"]\n").unwrap();
        assert_eq!((plan.first_table.table(1), plan.mark_fields.len()), (30_001, 2));
        assert_eq!(read("mark_fields = []").unwrap().mark_fields, []);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for text in ["first_table = 255", "mark_fields = [\"0x0f\"]", "mark_fields = \"0x7f\"", "tables = 1"] {
            let error = read(text).unwrap_err();
            assert!(
                matches!(&error, SteeringFileError::Malformed { .. }) && error.to_string().contains("steering.toml"),
                "{error}"
            );
            assert!(std::error::Error::source(&error).unwrap().to_string().contains("line 1"), "{text}");
        }
    }
}
