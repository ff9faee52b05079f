"""the oldest revision whose code may use the database

Revision ID: 0020
Revises: 0019
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0020'
down_revision = '0019'
branch_labels = None
depends_on = None


def upgrade() -> None:
    table = op.create_table('compatibility',
    sa.Column('id', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('oldest_revision', sa.String(length=32), nullable=False),
    sa.CheckConstraint('id = 1', name=op.f('ck_compatibility_only_row')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_compatibility'))
    )
    # Migrations after 0016 only expand, until one says BREAKS_OLDER.
    op.bulk_insert(table, [{'id': 1, 'oldest_revision': '0016'}])


def downgrade() -> None:
    op.drop_table('compatibility')
