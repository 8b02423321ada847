//! The largest eigenvalues of a small symmetric matrix: Householder's reduction to tridiagonal form, then bisection by Sturm's
//! count of the eigenvalues below a value (G. H. Golub, C. F. Van Loan, "Matrix Computations", 8.3 and 8.4).
//!
//! Exact whatever lies close together, where a power iteration would need a round for each digit; and without the vectors, which
//! nobody needs here, in `O(n^3)` for the reduction and `O(n)` for each halving.

/// Halvings: the error is the trace by 2 to this.
const HALVINGS: u32 = 24;

/// Memory of the computation.
#[derive(Clone, Debug, Default)]
pub struct Eigen {
    diagonal: Vec<f64>,
    beside: Vec<f64>,
    vector: Vec<f64>,
    product: Vec<f64>,
}

impl Eigen {
    /// The `N` largest eigenvalues of the `size` x `size` matrix, row after row, whose eigenvalues are not negative; descending, 0
    /// where there are no more. Takes the matrix apart.
    pub fn largest<const N: usize>(&mut self, matrix: &mut [f64], size: usize) -> [f64; N] {
        if size == 0 || matrix.len() < size * size {
            return [0.0; N];
        }
        self.reduce(matrix, size);
        let trace: f64 = self.diagonal.iter().sum();
        std::array::from_fn(|rank| match size.checked_sub(rank + 1) {
            Some(below) => self.halve(below, trace),
            None => 0.0,
        })
    }

    /// Makes the matrix tridiagonal: what is left is in `diagonal` and `beside` it.
    fn reduce(&mut self, matrix: &mut [f64], size: usize) {
        self.diagonal.clear();
        self.beside.clear();
        for step in 0..size {
            let row = matrix.chunks_exact(size).nth(step).unwrap_or_default();
            self.diagonal
                .push(row.get(step).copied().unwrap_or_default());
            self.vector.clear();
            self.vector.extend(row.iter().skip(step + 1));
            let norm = dot(&self.vector, &self.vector).sqrt();
            let Some(first) = self.vector.first_mut() else {
                break;
            };
            let reflected = if *first > 0.0 { -norm } else { norm };
            // The last element stands beside the diagonal already, and zeros need no reflection.
            if size - step == 2 || norm == 0.0 {
                self.beside.push(*first);
                continue;
            }
            *first -= reflected;
            self.beside.push(reflected);
            let scale = 2.0 / dot(&self.vector, &self.vector);
            let rows = matrix.chunks_exact(size).skip(step + 1);
            self.product.clear();
            self.product.extend(
                rows.map(|row| scale * dot(row.get(step + 1..).unwrap_or_default(), &self.vector)),
            );
            let share = 0.5 * scale * dot(&self.product, &self.vector);
            for (product, value) in self.product.iter_mut().zip(&self.vector) {
                *product -= share * value;
            }
            let rows = matrix.chunks_exact_mut(size).skip(step + 1);
            for ((row, v), w) in rows.zip(&self.vector).zip(&self.product) {
                let row = row.iter_mut().skip(step + 1);
                for ((entry, other_v), other_w) in row.zip(&self.vector).zip(&self.product) {
                    *entry -= v * other_w + w * other_v;
                }
            }
        }
    }

    /// The eigenvalue that so many lie below.
    fn halve(&self, below: usize, trace: f64) -> f64 {
        let (mut low, mut high) = (0.0, trace);
        for _ in 0..HALVINGS {
            let middle = 0.5 * (low + high);
            if self.below(middle) > below {
                high = middle;
            } else {
                low = middle;
            }
        }
        0.5 * (low + high)
    }

    /// How many eigenvalues lie below `value`: the negative pivots.
    fn below(&self, value: f64) -> usize {
        let mut count = 0;
        let mut pivot = 1.0_f64;
        let beside = std::iter::once(&0.0).chain(&self.beside);
        for (diagonal, beside) in self.diagonal.iter().zip(beside) {
            pivot = diagonal - value - beside * beside / pivot;
            if pivot.abs() < f64::MIN_POSITIVE {
                pivot = f64::MIN_POSITIVE;
            }
            count += usize::from(pivot < 0.0);
        }
        count
    }
}

/// Of a few numbers: four partial sums, where those of [`lanes`](crate::lanes) would cost more than the numbers.
fn dot(one: &[f64], other: &[f64]) -> f64 {
    let length = one.len().min(other.len());
    let (one, one_rest) = one.get(..length).unwrap_or_default().as_chunks::<4>();
    let (other, other_rest) = other.get(..length).unwrap_or_default().as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (one, other) in one.iter().zip(other) {
        for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
            *sum += one * other;
        }
    }
    let [a, b, c, d] = sums;
    let rest = one_rest
        .iter()
        .zip(other_rest)
        .map(|(one, other)| one * other);
    (a + b) + (c + d) + rest.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(matrix: &[f64], size: usize, expected: [f64; 3]) {
        let found: [f64; 3] = Eigen::default().largest(&mut matrix.to_vec(), size);
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
        }
    }

    #[test]
    fn of_small_matrices_as_by_hand() {
        check(&[], 0, [0.0; 3]);
        check(&[4.0], 1, [4.0, 0.0, 0.0]);
        check(&[2.0, 1.0, 1.0, 2.0], 2, [3.0, 1.0, 0.0]);
        check(
            &[1.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 3.0],
            3,
            [5.0, 3.0, 1.0],
        );
    }

    /// `2 - 2 cos(k pi / (n + 1))`: the second difference's, as a full matrix after a rotation of its rows and columns.
    #[test]
    fn of_a_matrix_whose_eigenvalues_are_known() {
        let size = 20;
        let second = |row: usize, column: usize| match row.abs_diff(column) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        };
        // Householder's own kind of rotation, by the vector of ones: Q = I - 2/n 1 1'.
        let q = |row: usize, column: usize| f64::from(row == column) - 2.0 / size as f64;
        let mut matrix = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..size {
                for a in 0..size {
                    for b in 0..size {
                        matrix[row * size + column] += q(row, a) * second(a, b) * q(b, column);
                    }
                }
            }
        }
        let known =
            |k: usize| 2.0 - 2.0 * (k as f64 * std::f64::consts::PI / (size as f64 + 1.0)).cos();
        check(&matrix, size, [known(20), known(19), known(18)]);
    }
}
