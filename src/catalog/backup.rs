//! A copy of what a data folder holds beside its trails: the catalog, the key of its secrets, files of a person's own.
//!
//! The catalog's file changes while a server runs. It is read again and again until two readings are the same: between
//! them it was, at one moment, as they say, which is what a killed server would have left. The copy is then opened,
//! which recovers it as after a kill, and read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::cursors::CURSORS_DRAFT_FILE;
use super::folder::{LOCK_FILE, flush_folder};
use super::store::{CATALOG_FILE, Catalog, CatalogError, Shelf};

/// How often the catalog's file is read at most.
const READINGS_MAX: u32 = 1_000;

/// Copies the files that lie directly in the data folder `from` into the folder `to`; returns the catalog's bytes.
pub fn copy_data_folder(from: &Path, to: &Path) -> io::Result<u64> {
    let mut catalog_bytes = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        // The lock is the server's; a draft is about to be the file that it is a draft of, which is copied.
        if name == LOCK_FILE || name == CURSORS_DRAFT_FILE || !entry.file_type()?.is_file() {
            continue;
        }
        let copy = to.join(&name);
        if name == CATALOG_FILE {
            let bytes = settled(&entry.path())?;
            catalog_bytes = bytes.len() as u64;
            let mut file = File::create_new(&copy)?;
            file.set_permissions(entry.metadata()?.permissions())?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            drop(file);
            read_all(to).map_err(io::Error::other)?;
        } else {
            fs::copy(entry.path(), &copy)?;
            File::open(&copy)?.sync_all()?;
        }
    }
    flush_folder(to)?;
    Ok(catalog_bytes)
}

fn settled(path: &Path) -> io::Result<Vec<u8>> {
    let mut before = fs::read(path)?;
    for _ in 0..READINGS_MAX {
        let now = fs::read(path)?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Err(io::Error::other("the catalog changes all the time; try again when it is quieter"))
}

fn read_all(folder: &Path) -> Result<(), CatalogError> {
    let catalog = Catalog::open(folder)?;
    for shelf in Shelf::ALL {
        catalog.list::<serde_json::Value>(shelf)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_taken_while_the_catalog_is_written_opens_and_holds_what_was_there_before() {
        let data = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(data.path()).unwrap();
        catalog.put(Shelf::Streams, "before", &"value").unwrap();
        std::fs::write(data.path().join("secret.key"), [7; 32]).unwrap();
        let busy = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0_u32.. {
                    catalog.put(Shelf::Extracts, &format!("e{}", number % 50), &"x".repeat(500)).unwrap();
                    if !busy.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                }
            });
            for _ in 0..5 {
                let copy = tempfile::tempdir().unwrap();
                copy_data_folder(data.path(), copy.path()).unwrap();
                let copied = Catalog::open(copy.path()).unwrap();
                assert_eq!(copied.get::<String>(Shelf::Streams, "before").unwrap().as_deref(), Some("value"));
                assert_eq!(std::fs::read(copy.path().join("secret.key")).unwrap(), [7; 32]);
            }
            busy.store(false, std::sync::atomic::Ordering::Relaxed);
        });
    }
}
