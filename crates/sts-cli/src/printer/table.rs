//! Tables with the layout of the original command.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::escape::escape;

const SEPARATOR: &str = " | ";

/// A table with a header and rows of `N` cells.
pub(crate) struct Table<const N: usize> {
    pub(crate) header: [&'static str; N],
    pub(crate) rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// Renders the table. Each line is padded to the full width of the table. `width` is divided
    /// among the columns, and a cell that is wider than its column is wrapped.
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
        let widths = width.map_or(wanted, |width| shares(wanted, width));
        let header = self.header.map(str::to_uppercase);
        let mut lines = vec![line(&header, widths, paint_header)];
        for row in &rows {
            let wrapped: [Vec<String>; N] = std::array::from_fn(|at| wrap(&row[at], widths[at]));
            for at in 0..wrapped.iter().map(Vec::len).max().unwrap_or(1) {
                let cells: [String; N] = std::array::from_fn(|column| {
                    wrapped[column].get(at).cloned().unwrap_or_default()
                });
                lines.push(line(&cells, widths, |cell| cell));
            }
        }
        lines.join("\n")
    }
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
/// do not use.
fn shares<const N: usize>(wanted: [usize; N], width: usize) -> [usize; N] {
    let average = width.saturating_sub(SEPARATOR.len() * (N - 1)) / N;
    let left: usize = wanted.iter().map(|wanted| average.saturating_sub(*wanted)).sum();
    let n_big = wanted.iter().filter(|wanted| **wanted >= average).count().max(1);
    // The width of a column is at least two, because a wide character such as an emoji needs two.
    wanted.map(
        |wanted| if wanted < average { wanted } else { wanted.min(average + left / n_big).max(2) },
    )
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

    // Scenario: a cell has a line end and a terminal sequence. In another case, the terminal has a
    // width of zero.
    // Guarantee: the cell stays on one line. Rendering does not panic.
    #[test]
    fn a_row_stays_a_row() {
        assert_eq!(render(["a"], &[["x\ny\u{1b}"]], 80), "A         \nx\\ny\\u{1b}");
        assert_eq!(render(["aa", "b"], &[["1", "2"]], 0), "AA | B \n1  | 2 ");
    }
}
