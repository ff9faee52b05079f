"""what fits a device, messages set aside, a price for simulated devices

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from shared.domain.identifiers import new_id

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

SIMULATED = 'simulated'


def upgrade() -> None:
    op.create_table(
        'fit',
        sa.Column('model', sa.String(length=256), nullable=False),
        sa.Column('device_name', sa.String(length=256), nullable=False),
        sa.Column('width', sa.BigInteger(), nullable=False),
        sa.Column('height', sa.BigInteger(), nullable=False),
        sa.Column('images', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint('model', 'device_name', 'width', 'height', name=op.f('pk_fit')),
    )
    op.create_table(
        'set_aside',
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('received_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('worker_id', sa.Uuid(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('body', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_set_aside')),
    )
    op.bulk_insert(
        _price(),
        [
            {
                'id': new_id(),
                'device_kind': SIMULATED,
                'nanodollars_per_hour': 36_000_000,
                'effective_from': datetime(2020, 1, 1, tzinfo=UTC),
                'source': 'example: a made-up price for a made-up device',
                'is_example': True,
            }
        ],
    )


def downgrade() -> None:
    price = _price()
    op.execute(price.delete().where(price.c.device_kind == SIMULATED))
    op.drop_table('set_aside')
    op.drop_table('fit')


def _price() -> sa.TableClause:
    return sa.table(
        'price',
        sa.column('id', sa.Uuid()),
        sa.column('device_kind', sa.String()),
        sa.column('nanodollars_per_hour', sa.BigInteger()),
        sa.column('effective_from', sa.DateTime(timezone=True)),
        sa.column('source', sa.Text()),
        sa.column('is_example', sa.Boolean()),
    )
