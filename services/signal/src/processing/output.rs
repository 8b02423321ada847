//! The output as a Parquet file.
//!
//! Apache Parquet format 2 (<https://parquet.apache.org/docs/file-format/>): one optional column for each column of the table, lists as
//! three-level groups, row groups of [`GROUP`] rows wherever chunks ended, no compression. The same rows give the same bytes.

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::table::{Column, Table, Values};

/// Rows of a row group.
pub const GROUP: usize = 4096;

/// A file that grows with each part of the table.
pub struct File {
    writer: SerializedFileWriter<Vec<u8>>,
    pending: Table,
}

impl File {
    /// A file with these columns; `about` is written into its metadata.
    ///
    /// # Errors
    /// None that a table can cause.
    pub fn new(columns: Table, about: &[(&str, String)]) -> Result<Self, ParquetError> {
        let fields = columns.columns.iter().map(field);
        let schema = Type::group_type_builder("schema")
            .with_fields(fields.collect::<Result<_, _>>()?)
            .build()?;
        let about = about
            .iter()
            .map(|(key, value)| KeyValue::new((*key).to_owned(), Some(value.clone())));
        let properties = WriterProperties::builder()
            .set_key_value_metadata(Some(about.collect()))
            .build();
        Ok(Self {
            writer: SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties))?,
            pending: columns,
        })
    }

    /// Adds rows.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn append(&mut self, part: Table) -> Result<(), ParquetError> {
        self.pending.append(part);
        while self.pending.rows() >= GROUP {
            let rest = self.pending.split_off(GROUP);
            let group = std::mem::replace(&mut self.pending, rest);
            self.group(&group)?;
        }
        Ok(())
    }

    /// The file, whole.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn finish(mut self) -> Result<Vec<u8>, ParquetError> {
        if self.pending.rows() > 0 {
            let rest = self.pending.split_off(0);
            self.group(&rest)?;
        }
        self.writer.into_inner()
    }

    fn group(&mut self, table: &Table) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in &table.columns {
            write(&mut group, &column.values)?;
        }
        group.close()?;
        Ok(())
    }
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    let optional = |physical| {
        Type::primitive_type_builder(&column.name, physical).with_repetition(Repetition::OPTIONAL)
    };
    let built = match &column.values {
        Values::Integers(_) => optional(Physical::INT64).build()?,
        Values::Floats(_) => optional(Physical::FLOAT).build()?,
        Values::Doubles(_) => optional(Physical::DOUBLE).build()?,
        Values::Texts(_) => optional(Physical::BYTE_ARRAY)
            .with_logical_type(Some(LogicalType::String))
            .with_converted_type(ConvertedType::UTF8)
            .build()?,
        Values::Lists(_) => {
            let element = Type::primitive_type_builder("element", Physical::FLOAT)
                .with_repetition(Repetition::REQUIRED)
                .build()?;
            let list = Type::group_type_builder("list")
                .with_repetition(Repetition::REPEATED)
                .with_fields(vec![Arc::new(element)])
                .build()?;
            Type::group_type_builder(&column.name)
                .with_repetition(Repetition::REQUIRED)
                .with_logical_type(Some(LogicalType::List))
                .with_converted_type(ConvertedType::LIST)
                .with_fields(vec![Arc::new(list)])
                .build()?
        }
    };
    Ok(Arc::new(built))
}

/// Definition levels and the values that are there.
fn present<T, U>(values: &[Option<T>], convert: impl Fn(&T) -> U) -> (Vec<i16>, Vec<U>) {
    let levels = values.iter().map(|value| i16::from(value.is_some()));
    (
        levels.collect(),
        values.iter().flatten().map(convert).collect(),
    )
}

fn write(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &Values,
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("a column too many".to_owned()));
    };
    match values {
        Values::Integers(values) => {
            let (levels, values) = present(values, |value| *value);
            let typed = column.typed::<Int64Type>();
            typed.write_batch(&values, Some(&levels), None)?;
        }
        Values::Floats(values) => {
            let (levels, values) = present(values, |value| *value);
            let typed = column.typed::<FloatType>();
            typed.write_batch(&values, Some(&levels), None)?;
        }
        Values::Doubles(values) => {
            let (levels, values) = present(values, |value| *value);
            let typed = column.typed::<DoubleType>();
            typed.write_batch(&values, Some(&levels), None)?;
        }
        Values::Texts(values) => {
            let (levels, values) = present(values, |value| ByteArray::from(value.as_str()));
            let typed = column.typed::<ByteArrayType>();
            typed.write_batch(&values, Some(&levels), None)?;
        }
        Values::Lists(lists) => {
            let (mut defined, mut repeated) = (Vec::new(), Vec::new());
            for list in lists {
                // An empty list has one place, which is not defined.
                defined.extend(std::iter::repeat_n(
                    i16::from(!list.is_empty()),
                    list.len().max(1),
                ));
                repeated.extend((0..list.len().max(1)).map(|place| i16::from(place > 0)));
            }
            let values: Vec<f32> = lists.iter().flatten().copied().collect();
            let typed = column.typed::<FloatType>();
            typed.write_batch(&values, Some(&defined), Some(&repeated))?;
        }
    }
    column.close()
}

#[cfg(test)]
mod tests;
