//! Sums over the rows of a window, one of each kind for each column, as the compiler makes vector instructions of them.
//!
//! Values are taken against the first row for the mean, and against the mean for the rest, so that `f32` holds them to its full
//! precision; after [`ROWS`] rows the sums go over into `f64`.

use super::{APART, Series};

/// Rows after which sums go over into `f64`.
const ROWS: usize = 64;

/// A row that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    /// Its place in the series.
    pub index: usize,
    /// It belongs to the second part.
    pub second: bool,
    /// It makes a pair with the one before.
    pub paired: bool,
}

/// Sums of one window; keeps its memory from one window to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    /// The rows that count.
    pub counted: Vec<Counted>,
    /// Sums of squared deviations, of products with the row before, and with the column [`APART`] columns on.
    pub variance: Vec<f64>,
    pub covariance: Vec<f64>,
    pub neighbour: Vec<f64>,
    /// The mean of each part.
    pub means: [Vec<f64>; 2],
    narrow: [Vec<f32>; 2],
    /// The same sums of the latest rows.
    squares: Vec<f32>,
    products: Vec<f32>,
    beside: Vec<f32>,
    /// Deviations from the mean of the row at hand, and of the one before.
    own: Vec<f32>,
    before: Vec<f32>,
}

impl Sums {
    /// Goes over the rows that count, of which the parts hold so many.
    pub fn take(&mut self, series: Series<'_>, counts: [usize; 2]) {
        for (part, count) in counts.into_iter().enumerate() {
            self.average(series, part, count);
        }
        let width = series.width;
        for (sums, length) in [
            (&mut self.variance, width),
            (&mut self.covariance, width),
            (&mut self.neighbour, width.saturating_sub(APART)),
        ] {
            zero(sums, length);
        }
        zero(&mut self.before, width);
        for rows in self.counted.chunks(ROWS) {
            zero(&mut self.squares, width);
            zero(&mut self.products, width);
            zero(&mut self.beside, width.saturating_sub(APART));
            for row in rows {
                let [first, second] = &self.narrow;
                let mean = if row.second { second } else { first };
                let pairs = at(series, row.index).iter().zip(mean);
                self.own.clear();
                self.own.extend(pairs.map(|(value, mean)| value - mean));
                let sums = self.squares.iter_mut().zip(&self.own);
                if row.paired {
                    let products = self.products.iter_mut().zip(&self.before);
                    for ((square, own), (product, before)) in sums.zip(products) {
                        *square += own * own;
                        *product += own * before;
                    }
                } else {
                    sums.for_each(|(square, own)| *square += own * own);
                }
                let ahead = self.own.get(APART..).unwrap_or_default();
                for ((sum, own), ahead) in self.beside.iter_mut().zip(&self.own).zip(ahead) {
                    *sum += own * ahead;
                }
                std::mem::swap(&mut self.own, &mut self.before);
            }
            add(&mut self.variance, &self.squares);
            add(&mut self.covariance, &self.products);
            add(&mut self.neighbour, &self.beside);
        }
    }

    /// The mean of each column over the `count` rows of a part; 0 where there is none.
    fn average(&mut self, series: Series<'_>, part: usize, count: usize) {
        let (Some(means), Some(narrow)) = (self.means.get_mut(part), self.narrow.get_mut(part))
        else {
            return;
        };
        zero(means, series.width);
        let of_part = |row: &&Counted| usize::from(row.second) == part;
        let first = self.counted.iter().find(of_part);
        let origin = first.map_or(&[][..], |first| at(series, first.index));
        for rows in self.counted.chunks(ROWS) {
            zero(&mut self.own, series.width);
            for row in rows.iter().filter(of_part) {
                let pairs = at(series, row.index).iter().zip(origin);
                for (sum, (value, origin)) in self.own.iter_mut().zip(pairs) {
                    *sum += value - origin;
                }
            }
            add(means, &self.own);
        }
        for (mean, origin) in means.iter_mut().zip(origin) {
            *mean = f64::from(*origin) + *mean / count as f64;
        }
        narrow.clear();
        narrow.extend(means.iter().map(|mean| *mean as f32));
    }
}

fn at(series: Series<'_>, index: usize) -> &[f32] {
    let begin = index * series.width;
    let row = series.rows.get(begin..begin + series.width);
    row.unwrap_or_default()
}

fn zero<T: Copy + Default>(values: &mut Vec<T>, length: usize) {
    values.clear();
    values.resize(length, T::default());
}

fn add(totals: &mut [f64], sums: &[f32]) {
    for (total, sum) in totals.iter_mut().zip(sums) {
        *total += f64::from(*sum);
    }
}
