"""rates by how many images are drawn at once, sizes that a worker can draw, ages of fits

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('pass_rate',
    sa.Column('worker_id', sa.Uuid(), nullable=False),
    sa.Column('width', sa.BigInteger(), nullable=False),
    sa.Column('height', sa.BigInteger(), nullable=False),
    sa.Column('iterations', sa.BigInteger(), nullable=False),
    sa.Column('is_guided', sa.Boolean(), nullable=False),
    sa.Column('images', sa.BigInteger(), nullable=False),
    sa.Column('passes', sa.BigInteger(), nullable=False),
    sa.Column('device_ns', sa.BigInteger(), nullable=False),
    sa.Column('device_ms_squared', sa.BigInteger(), nullable=False),
    sa.Column('peak_bytes', sa.BigInteger(), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
    sa.ForeignKeyConstraint(['worker_id'], ['worker.id'], name=op.f('fk_pass_rate_worker_id_worker'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('worker_id', 'width', 'height', 'iterations', 'is_guided', 'images', name=op.f('pk_pass_rate'))
    )
    op.add_column('worker', sa.Column('sizes', sa.JSON(), nullable=True))
    op.add_column('batch', sa.Column('images_per_pass', sa.BigInteger(), nullable=True))
    op.add_column('fit', sa.Column('learned_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('fit', 'learned_at')
    op.drop_column('batch', 'images_per_pass')
    op.drop_column('worker', 'sizes')
    op.drop_table('pass_rate')
