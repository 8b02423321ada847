use std::path::Path;

use crate::{Catalogue, CatalogueError, Error, Places};

const CONTENTS: &[u8] = b"not CSI";
/// Of `CONTENTS`.
const SUM: &str = "b6e920140bd7469d453ca3937a8362c9842e98ac58d49ab77d70fa4765187031";

fn catalogue(folder: &Path, path: &str, sum: &str) -> Catalogue {
    let text = format!(
        "[sources.s]\nrepository = \"r\"\nlicence = \"MIT\"\n\
         [[recordings]]\nname = \"one\"\nsource = \"s\"\npath = \"{path}\"\nsha256 = \"{sum}\"\nframes = 1\n\
         labels = [{{ label = \"quiet\", from_s = 0.0, to_s = 30.0 }}, {{ label = \"motion\", from_s = 30.0, to_s = 60.0 }}]\n"
    );
    let file = folder.join("recordings.toml");
    std::fs::write(&file, text).unwrap();
    Catalogue::load(&file).unwrap()
}

fn places(folder: &Path) -> Places {
    Places {
        folders: vec![folder.to_owned()],
        cache: None,
        online: false,
    }
}

#[test]
fn the_list_of_this_repository_holds_together() {
    let catalogue = Catalogue::built_in().unwrap();
    assert_eq!(
        catalogue
            .entries()
            .iter()
            .filter(|entry| entry.source == "espectre")
            .count(),
        21
    );
    let test = catalogue.entry("espectre-test-c3-20260329-130804").unwrap();
    assert_eq!(test.label(), None);
    assert_eq!(test.label_at(29.9), Some("quiet"));
    assert_eq!(test.label_at(30.0), Some("motion"));
    assert_eq!(
        catalogue.origin(test).unwrap(),
        "https://raw.githubusercontent.com/francescopace/espectre/dc52b942d79558e3bb108911b82ea5ac261c9069/\
         micro-espectre/data/test/test_c3_64sc_20260329_130804.npz"
    );
}

#[test]
fn what_is_in_a_folder_is_found_packed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plain.bin"), CONTENTS).unwrap();
    let plain = catalogue(folder.path(), "plain.bin", SUM)
        .find("one", &places(folder.path()))
        .unwrap();
    assert_eq!(plain.contents, CONTENTS);

    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, CONTENTS).unwrap();
    std::fs::write(
        folder.path().join("packed.csv.gz"),
        packed.finish().unwrap(),
    )
    .unwrap();
    let packed = catalogue(folder.path(), "packed.csv.gz", SUM)
        .find("one", &places(folder.path()))
        .unwrap();
    assert_eq!(packed.contents, CONTENTS);
    assert_eq!(packed.file_name(), "packed.csv");
}

#[test]
fn a_wrong_sum_is_an_error_that_names_both() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("plain.bin"), b"changed").unwrap();
    let error = catalogue(folder.path(), "plain.bin", SUM)
        .find("one", &places(folder.path()))
        .unwrap_err();
    let Error::Sum {
        ref expected,
        ref found,
        ..
    } = error
    else {
        panic!("{error}")
    };
    assert_eq!(expected, SUM);
    assert_ne!(found, SUM);
    assert!(
        error.to_string().contains(SUM) && error.to_string().contains(found.as_str()),
        "{error}"
    );
}

#[test]
fn what_is_nowhere_is_said_with_the_places() {
    let folder = tempfile::tempdir().unwrap();
    let error = catalogue(folder.path(), "plain.bin", SUM)
        .find("one", &places(folder.path()))
        .unwrap_err();
    let Error::NotFound { looked, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(looked.len(), 2, "{looked:?}");
    assert!(looked[0].ends_with("plain.bin"), "{looked:?}");
    let error = catalogue(folder.path(), "plain.bin", SUM)
        .find("two", &places(folder.path()))
        .unwrap_err();
    assert!(
        matches!(error, Error::Unlisted { near: None, .. }),
        "{error}"
    );
}

#[test]
fn what_was_fetched_before_is_found_in_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    crate::origin::keep(&cache.join("deep/packed.csv"), CONTENTS).unwrap();
    let places = Places {
        folders: Vec::new(),
        cache: Some(cache),
        online: false,
    };
    let found = catalogue(folder.path(), "deep/packed.csv.gz", SUM)
        .find("one", &places)
        .unwrap();
    assert_eq!(found.contents, CONTENTS);
}

#[test]
fn only_what_is_listed_so_is_optional() {
    let folder = tempfile::tempdir().unwrap();
    let mut catalogue = catalogue(folder.path(), "plain.bin", SUM);
    assert!(!crate::is_optional(&catalogue, "one"));
    catalogue.recordings[0].optional = true;
    assert!(crate::is_optional(&catalogue, "one"));
    assert!(!crate::is_optional(&catalogue, "two"));
    // What has an origin would be fetched by every run of the tests that lacks it. (No test asks for the blind ones.)
    const BLIND: [&str; 9] = [
        "csi-har-unseen",
        "csi-har-unseen-more",
        "espectre-history",
        "espectre-later",
        "ialr-more",
        "thu4n-more",
        "tzanis",
        "surya",
        "fauzan",
    ];
    let built_in = Catalogue::built_in().unwrap();
    let optional = built_in.entries().iter().filter(|entry| entry.optional);
    let local = optional.clone().filter(|entry| entry.file.is_none());
    let blind = optional
        .clone()
        .filter(|entry| BLIND.contains(&entry.source.as_str()));
    assert_eq!(local.count() + blind.count(), optional.clone().count());
    assert!(optional.count() >= 15);
}

#[test]
fn a_path_out_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recordings.toml");
    let text = format!(
        "[sources.s]\nrepository = \"r\"\nlicence = \"MIT\"\n\
         [[recordings]]\nname = \"one\"\nsource = \"s\"\npath = \"../plain.bin\"\nsha256 = \"{SUM}\"\nframes = 1\n"
    );
    std::fs::write(&file, text).unwrap();
    assert!(matches!(
        Catalogue::load(&file),
        Err(CatalogueError::Entry { .. })
    ));
}

/// Every listed recording that is on this machine has the right sum.
#[test]
fn local_recordings_have_the_right_sums() {
    let catalogue = Catalogue::built_in().unwrap();
    let places = Places {
        online: false,
        ..Places::from_environment()
    };
    let mut found = 0;
    for entry in catalogue.entries() {
        match catalogue.find(&entry.name, &places) {
            Ok(_) => found += 1,
            Err(Error::NotFound { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    println!(
        "{found} of {} recordings are here",
        catalogue.entries().len()
    );
}
