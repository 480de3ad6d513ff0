//! Tables with the layout of the original command.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::escape::escape;

const SEPARATOR: &str = " | ";

/// The smallest share of a column for which cells are wrapped, in characters. A wide character,
/// such as an emoji, needs two.
const MIN_COLUMN: usize = 2;

/// A table with a header and rows of `N` cells.
pub(crate) struct Table<const N: usize> {
    pub(crate) header: [&'static str; N],
    pub(crate) rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Renders the table. Each line is padded to the full width of the table. `width` is divided
    /// among the columns, and a cell that is wider than its column is wrapped. If `width` is too
    /// small for the columns, no cell is wrapped, and the table is wider than `width`.
    pub(super) fn render(
        &self,
        width: Option<usize>,
        paint_header: impl Fn(String) -> String,
    ) -> String {
        let rows = self
            .rows
            .iter()
            .map(|row| row.each_ref().map(|cell| escape(cell).into_owned()))
            .collect::<Vec<_>>();
        let mut wanted = self.header.map(UnicodeWidthStr::width);
        for row in &rows {
            for (wanted, cell) in wanted.iter_mut().zip(row) {
                *wanted = cell.width().max(*wanted);
            }
        }
        let widths = width.and_then(|width| shares(wanted, width)).unwrap_or(wanted);
        let header = self.header.map(str::to_uppercase);
        let mut lines = wrapped_row(&header, widths, paint_header);
        for row in &rows {
            lines.extend(wrapped_row(row, widths, |cell| cell));
        }
        lines.join("\n")
    }
}

/// Renders a row as one or more lines.
fn wrapped_row<const N: usize>(
    row: &[String; N],
    widths: [usize; N],
    paint: impl Fn(String) -> String,
) -> Vec<String> {
    let wrapped: [Vec<String>; N] = std::array::from_fn(|at| wrap(&row[at], widths[at]));
    let n_lines = wrapped.iter().map(Vec::len).max().unwrap_or(1);
    let lines = (0..n_lines).map(|at| {
        let cells: [String; N] =
            std::array::from_fn(|column| wrapped[column].get(at).cloned().unwrap_or_default());
        line(&cells, widths, &paint)
    });
    lines.collect()
}

fn line<const N: usize>(
    cells: &[String; N],
    widths: [usize; N],
    paint: impl Fn(String) -> String,
) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let blanks = " ".repeat(width.saturating_sub(cell.width()));
        paint(format!("{cell}{blanks}"))
    });
    padded.collect::<Vec<_>>().join(SEPARATOR)
}

/// Splits `width` into the widths of the columns. Wide columns share the width that narrow columns
/// do not use. Returns `None` if a column would be narrower than [`MIN_COLUMN`].
fn shares<const N: usize>(wanted: [usize; N], width: usize) -> Option<[usize; N]> {
    let average = width.saturating_sub(SEPARATOR.len() * (N - 1)) / N;
    if average < MIN_COLUMN {
        return None;
    }
    let left: usize = wanted.iter().map(|wanted| average.saturating_sub(*wanted)).sum();
    let n_big = wanted.iter().filter(|wanted| **wanted >= average).count().max(1);
    Some(wanted.map(
        |wanted| {
            if wanted < average { wanted } else { wanted.min(average + left / n_big) }
        },
    ))
}

/// Cuts `text` into pieces that are not wider than `width`. A cut may be in the middle of a word.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut pieces, mut used) = (vec![String::new()], 0);
    for character in text.chars() {
        let wide = character.width().unwrap_or_default();
        if used + wide > width {
            pieces.push(String::new());
            used = 0;
        }
        used += wide;
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render<const N: usize>(
        header: [&'static str; N],
        rows: &[[&str; N]],
        width: usize,
    ) -> String {
        let rows = rows.iter().map(|row| row.map(str::to_owned)).collect();
        Table { header, rows }.render(Some(width), |cell| cell)
    }

    // Scenario: the table of the documentation is rendered.
    // Guarantee: the text is the documented text, except that every line is padded to the full
    // width.
    #[test]
    fn the_documented_table() {
        let text = render(
            ["id", "name", "expiration", "description"],
            &[["250558013078953", "my-ingestion-api-key", "", "-"]],
            80,
        );
        let expected = "ID              | NAME                 | EXPIRATION | DESCRIPTION\n\
             250558013078953 | my-ingestion-api-key |            | -          ";
        assert_eq!(text, expected);
    }

    // Scenario: two cells are too wide, and one of these has wide characters. A third column is
    // narrow.
    // Guarantee: the wide columns share the width that the narrow column does not use. Their cells
    // are wrapped.
    #[test]
    fn wide_cells_are_wrapped() {
        let text = render(
            ["a", "b", "c"],
            &[["1", "abcdefghijklmnopqrst", "鍵鍵鍵鍵鍵鍵鍵鍵鍵鍵"], ["2", "x", ""]],
            36,
        );
        let expected = "A | B              | C             \n1 | abcdefghijklmn | 鍵鍵鍵鍵鍵鍵鍵\n  | \
             opqrst         | 鍵鍵鍵        \n2 | x              |               ";
        assert_eq!(text, expected);
    }

    // Scenario: a cell has a line end and a terminal sequence.
    // Guarantee: the cell stays on one line.
    #[test]
    fn a_row_stays_a_row() {
        assert_eq!(render(["a"], &[["x\ny\u{1b}"]], 80), "A         \nx\\ny\\u{1b}");
    }

    // Scenario: a table is rendered for every width from 0 to 80. It has four columns, wide
    // characters, and headers that are wider than some columns.
    // Guarantee: all lines of a table have the same width. No line is wider than the terminal,
    // unless the terminal is too narrow for four columns of two characters. Then no cell is
    // wrapped. The cells of a column, put together, have the whole text.
    #[test]
    fn a_narrow_table_keeps_its_columns() {
        let header = ["id", "name", "expiration", "description"];
        let row = ["250558013078953", "鍵-my-ingestion-api-key", "2030-12-31", "-"];
        for width in 0..=80 {
            let text = render(header, &[row], width);
            let widths = text.lines().map(UnicodeWidthStr::width).collect::<Vec<_>>();
            assert!(widths.iter().all(|found| *found == widths[0]), "{width}: {text}");
            if width >= 4 * MIN_COLUMN + 3 * SEPARATOR.len() {
                assert!(widths[0] <= width, "{width}: {text}");
            } else {
                assert_eq!(text.lines().count(), 2, "{width}: {text}");
            }
            for at in 0..4 {
                let column = text.lines().map(|line| {
                    line.split(SEPARATOR).nth(at).map(str::trim_end).unwrap_or_default()
                });
                let whole = header[at].to_uppercase() + row[at];
                assert_eq!(column.collect::<String>(), whole, "{width}: {text}");
            }
        }
    }
}
