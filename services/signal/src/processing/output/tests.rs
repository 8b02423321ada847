use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use proptest::prelude::*;

use super::{File, GROUP};
use crate::processing::table::{Column, Table, Values};

fn table(rows: std::ops::Range<usize>) -> Table {
    let every = |n: usize| move |row: usize| !row.is_multiple_of(n);
    let column = |name: &str, values: Values| Column {
        name: name.to_owned(),
        values,
    };
    let rows = || rows.clone();
    Table {
        columns: vec![
            column(
                "a",
                Values::Integers(
                    rows()
                        .map(|r| every(3)(r).then_some(r as i64 - 5))
                        .collect(),
                ),
            ),
            column(
                "b",
                Values::Floats(
                    rows()
                        .map(|r| every(4)(r).then_some(r as f32 / 3.0))
                        .collect(),
                ),
            ),
            column(
                "c",
                Values::Doubles(
                    rows()
                        .map(|r| every(5)(r).then_some(r as f64 / 7.0))
                        .collect(),
                ),
            ),
            column(
                "d",
                Values::Texts(
                    rows()
                        .map(|r| every(6)(r).then_some(format!("é{r}")))
                        .collect(),
                ),
            ),
            column(
                "e",
                Values::Lists(
                    rows()
                        .map(|r| (0..r % 4).map(|i| (r + i) as f32).collect())
                        .collect(),
                ),
            ),
        ],
    }
}

fn file(cuts: &[usize], rows: usize) -> Vec<u8> {
    let mut file = File::new(table(0..0), &[("pipeline", "x".to_owned())]).unwrap();
    let mut from = 0;
    for cut in cuts.iter().chain([&rows]) {
        file.append(table(from..*cut)).unwrap();
        from = *cut;
    }
    file.finish().unwrap()
}

#[test]
fn another_reader_finds_the_rows() {
    let reader = SerializedFileReader::new(Bytes::from(file(&[], 10))).unwrap();
    let meta = reader.metadata().file_metadata();
    assert_eq!(meta.num_rows(), 10);
    let about = meta.key_value_metadata().unwrap();
    assert_eq!(
        (about[0].key.as_str(), about[0].value.as_deref()),
        ("pipeline", Some("x"))
    );
    let rows: Vec<_> = reader
        .get_row_iter(None)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(rows[0].get_long(0).is_err() && rows[0].get_string(3).is_err());
    assert_eq!(rows[7].get_long(0).unwrap(), 2);
    assert_eq!(rows[7].get_float(1).unwrap(), 7.0 / 3.0);
    assert_eq!(rows[7].get_double(2).unwrap(), 1.0);
    assert_eq!(rows[7].get_string(3).unwrap(), "é7");
    let list = rows[7].get_list(4).unwrap();
    assert_eq!(list.elements().len(), 3);
    assert_eq!(rows[4].get_list(4).unwrap().elements().len(), 0);
}

#[test]
fn no_rows_make_a_file_too() {
    let reader = SerializedFileReader::new(Bytes::from(file(&[], 0))).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn where_parts_end_does_not_show(mut cuts in prop::collection::vec(0..2 * GROUP + 100, 0..6)) {
        let rows = 2 * GROUP + 100;
        cuts.sort_unstable();
        prop_assert_eq!(file(&cuts, rows), file(&[], rows));
    }
}
