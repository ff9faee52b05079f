"""several models a worker: which it serves, what they took to load, rates by model

Revision ID: 0015
Revises: 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None

RATES = ('images', 'device_ns', 'device_ms_squared', 'wall_ns')
RATE_KEY = ('width', 'height', 'iterations', 'is_guided')
PASSES = ('passes', 'device_ns', 'device_ms_squared', 'peak_bytes')
PASS_KEY = (*RATE_KEY, 'images')


def upgrade() -> None:
    op.create_table('worker_model',
    sa.Column('worker_id', sa.Uuid(), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('queue', sa.String(length=256), nullable=False),
    sa.Column('weights_sha256', sa.String(length=64), nullable=True),
    sa.Column('sizes', sa.JSON(), nullable=True),
    sa.Column('loaded_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('load_ns', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['worker_id'], ['worker.id'], name=op.f('fk_worker_model_worker_id_worker'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('worker_id', 'model', name=op.f('pk_worker_model'))
    )
    op.create_index('ix_worker_model_model', 'worker_model', ['model'])
    op.execute(
        'INSERT INTO worker_model (worker_id, model, queue, weights_sha256, sizes, loaded_at, load_ns) '
        'SELECT id, model, queue, weights_sha256, sizes, started_at, load_ns FROM worker'
    )
    op.create_table('model_load',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('worker_id', sa.Uuid(), nullable=False),
    sa.Column('batch_id', sa.Uuid(), nullable=False),
    sa.Column('model', sa.String(length=256), nullable=False),
    sa.Column('loaded_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('load_ns', sa.BigInteger(), nullable=False),
    sa.ForeignKeyConstraint(['worker_id'], ['worker.id'], name=op.f('fk_model_load_worker_id_worker'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_model_load'))
    )
    op.create_index('ix_model_load_worker', 'model_load', ['worker_id'])
    _rebuild('measured_rate', RATE_KEY, RATES, by_model=True)
    _rebuild('pass_rate', PASS_KEY, PASSES, by_model=True)


def downgrade() -> None:
    _rebuild('measured_rate', RATE_KEY, RATES, by_model=False)
    _rebuild('pass_rate', PASS_KEY, PASSES, by_model=False)
    op.drop_table('model_load')
    op.drop_table('worker_model')


def _rebuild(table: str, key: tuple[str, ...], sums: tuple[str, ...], *, by_model: bool) -> None:
    """Make a table of rates anew with another key: SQLite cannot change one."""
    rates = f'{table}_before'
    model = 'worker.model' if by_model else 'worker.model AS first_model'
    op.execute(f'CREATE TABLE {rates} AS SELECT {table}.*, {model} FROM {table} JOIN worker ON worker.id = {table}.worker_id')
    op.drop_table(table)
    columns = [sa.Column('worker_id', sa.Uuid(), nullable=False)]
    names = ['worker_id']
    if by_model:
        columns.append(sa.Column('model', sa.String(length=256), nullable=False))
        names.append('model')
    for name in key:
        columns.append(sa.Column(name, sa.Boolean() if name == 'is_guided' else sa.BigInteger(), nullable=False))
    names += key
    columns += [sa.Column(name, sa.BigInteger(), nullable=False) for name in sums]
    columns.append(sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False))
    op.create_table(table,
    *columns,
    sa.ForeignKeyConstraint(['worker_id'], ['worker.id'], name=op.f(f'fk_{table}_worker_id_worker'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint(*names, name=op.f(f'pk_{table}'))
    )
    listed = ', '.join([*names, *sums, 'updated_at'])
    which = '' if by_model else ' WHERE model = first_model'
    op.execute(f'INSERT INTO {table} ({listed}) SELECT {listed} FROM {rates}{which}')
    op.drop_table(rates)
