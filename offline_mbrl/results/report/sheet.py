"""The groups of seeds as a sheet: rows are systems, columns are tasks with their data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from offline_mbrl.results.groups import Group, Row, column_labels, row_label, unique_columns
from offline_mbrl.results.query import Column, DataSummary


@dataclass(frozen=True)
class Sheet:
    """All groups, and what their rows and columns are called."""

    groups: Sequence[Group]

    @cached_property
    def rows(self) -> list[Row]:
        """Each row once, in the order of the groups."""
        return list(dict.fromkeys(group.row for group in self.groups))

    @cached_property
    def columns(self) -> Mapping[Column, DataSummary]:
        """Each column once, in the benchmark's order, with its data set."""
        return unique_columns(self.groups)

    @cached_property
    def column_names(self) -> Mapping[Column, str]:
        return column_labels(self.columns)

    @cached_property
    def row_names(self) -> Mapping[Row, str]:
        return {row: row_label(row) for row in self.rows}

    @cached_property
    def cells(self) -> Mapping[tuple[Row, Column], Group]:
        """The groups by row and column."""
        return {(group.row, group.column): group for group in self.groups}

    def place(self, group: Group) -> dict[str, int]:
        """Where a group stands."""
        return {"row": self.rows.index(group.row), "column": list(self.columns).index(group.column)}

    def scored(self, row: Row, column: Column) -> bool:
        """Whether the cell has a seed that counts."""
        return (row, column) in self.cells and bool(self.cells[row, column].counted)
