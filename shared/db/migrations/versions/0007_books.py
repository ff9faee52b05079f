"""price book by SKU, books of every second a device is held, sums of costs, budgets, rates

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from alembic import op

from shared.domain.identifiers import NOBODY, new_id

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None

SINCE = datetime(2024, 1, 1, tzinfo=UTC)
EXAMPLES = (
    ('qaic', '', 1_114_925_000, 'AWS EC2 dl2q.24xlarge at $8.9194, a card is 1/8, us-west-2', date(2024, 6, 1)),
    ('qaic', 'dl2q.24xlarge', 1_114_925_000, 'AWS EC2 dl2q.24xlarge at $8.9194, a card is 1/8, us-west-2', date(2024, 6, 1)),
    ('cuda', 'g5.xlarge', 1_006_000_000, 'AWS EC2 g5.xlarge, one A10G, on demand, us-east-1', date(2026, 6, 17)),
    ('cuda', 'g6.xlarge', 804_800_000, 'AWS EC2 g6.xlarge, one L4, on demand, us-east-1', date(2025, 6, 5)),
    ('cuda', 'p5.48xlarge', 6_880_000_000, 'AWS EC2 p5.48xlarge at $55.04, an H100 is 1/8, on demand, us-east-1', date(2025, 6, 5)),
    ('cpu', 'c6a.large', 76_500_000, 'AWS EC2 c6a.large, 2 vCPU, on demand, us-east-1', date(2025, 6, 5)),
)
"""Nano-dollars an hour of one device; to be replaced by what is really paid."""


def upgrade() -> None:
    _prices()
    _new_tables()
    _workers()
    _ledger()
    op.add_column('batch', sa.Column('tags', sa.JSON(), nullable=True))
    op.add_column('batch', sa.Column('max_nanodollars', sa.BigInteger(), nullable=True))
    op.add_column('batch', sa.Column('quote', sa.JSON(), nullable=True))
    op.add_column('job', sa.Column('held_for', sa.String(length=16), nullable=True))
    where = sa.text("held_for = 'budget'")
    op.create_index(
        'ix_job_over_budget',
        'job',
        ['batch_id', 'position'],
        sqlite_where=where,
        postgresql_where=where,
    )
    _tallies()
    _sum_what_is_there()


def _prices() -> None:
    with op.batch_alter_table('price') as table:
        table.add_column(sa.Column('sku', sa.String(length=64), nullable=False, server_default=sa.text("''")))
        table.add_column(sa.Column('source_date', sa.Date(), nullable=True))
        table.drop_constraint(op.f('uq_price_device_kind'), type_='unique')
        table.create_unique_constraint(
            op.f('uq_price_device_kind'), ['device_kind', 'sku', 'effective_from']
        )
    price = sa.table(
        'price',
        sa.column('id', sa.Uuid()),
        sa.column('device_kind', sa.String()),
        sa.column('sku', sa.String()),
        sa.column('nanodollars_per_hour', sa.BigInteger()),
        sa.column('effective_from', sa.DateTime(timezone=True)),
        sa.column('source', sa.Text()),
        sa.column('source_date', sa.Date()),
        sa.column('is_example', sa.Boolean()),
    )
    op.bulk_insert(
        price,
        [
            {
                'id': new_id(),
                'device_kind': kind,
                'sku': sku,
                'nanodollars_per_hour': nanodollars,
                'effective_from': SINCE,
                'source': f'example: {source}',
                'source_date': read_on,
                'is_example': True,
            }
            for kind, sku, nanodollars, source, read_on in EXAMPLES
        ],
    )
    op.create_table(
        'store_rate',
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('nanodollars_per_gib_month', sa.BigInteger(), nullable=False),
        sa.Column('nanodollars_per_thousand_requests', sa.BigInteger(), nullable=False),
        sa.Column('effective_from', sa.DateTime(timezone=True), nullable=False),
        sa.Column('source', sa.Text(), nullable=False),
        sa.Column('source_date', sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_store_rate')),
        sa.UniqueConstraint('effective_from', name=op.f('uq_store_rate_effective_from')),
    )


def _new_tables() -> None:
    op.create_table(
        'cost_sum',
        sa.Column('batch_id', sa.Uuid(), nullable=False),
        sa.Column('worker_id', sa.Uuid(), nullable=False),
        sa.Column('kind', sa.String(length=32), nullable=False),
        sa.Column('day', sa.Date(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in (
                'entries',
                'device_ns',
                'nanodollars',
                'least_nanodollars',
                'most_nanodollars',
            )
        ),
        sa.PrimaryKeyConstraint('batch_id', 'worker_id', 'kind', 'day', name=op.f('pk_cost_sum')),
    )
    op.create_index('ix_cost_sum_worker', 'cost_sum', ['worker_id'])
    op.create_index('ix_cost_sum_day', 'cost_sum', ['day'])
    op.create_table(
        'tenant_budget',
        sa.Column('tenant', sa.String(length=128), nullable=False),
        sa.Column('max_nanodollars', sa.BigInteger(), nullable=False),
        sa.Column('period', sa.String(length=16), nullable=False),
        sa.Column('set_at', sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint('tenant', name=op.f('pk_tenant_budget')),
    )
    op.create_table(
        'measured_rate',
        sa.Column('worker_id', sa.Uuid(), nullable=False),
        sa.Column('width', sa.BigInteger(), nullable=False),
        sa.Column('height', sa.BigInteger(), nullable=False),
        sa.Column('iterations', sa.BigInteger(), nullable=False),
        sa.Column('is_guided', sa.Boolean(), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ('images', 'device_ns', 'device_ms_squared', 'wall_ns')
        ),
        sa.Column('updated_at', sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ['worker_id'],
            ['worker.id'],
            name=op.f('fk_measured_rate_worker_id_worker'),
            ondelete='CASCADE',
        ),
        sa.PrimaryKeyConstraint(
            'worker_id',
            'width',
            'height',
            'iterations',
            'is_guided',
            name=op.f('pk_measured_rate'),
        ),
    )
    op.create_table(
        'declared_rate',
        sa.Column('device_kind', sa.String(length=64), nullable=False),
        sa.Column('sku', sa.String(length=64), nullable=False),
        sa.Column('model', sa.String(length=256), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ('width', 'height', 'iterations', 'device_ns', 'load_ns')
        ),
        sa.Column('source', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint(
            'device_kind',
            'sku',
            'model',
            'width',
            'height',
            'iterations',
            name=op.f('pk_declared_rate'),
        ),
    )


def _workers() -> None:
    op.add_column(
        'worker', sa.Column('device_sku', sa.String(length=64), nullable=False, server_default=sa.text("''"))
    )
    op.add_column('worker', sa.Column('online_at', sa.DateTime(timezone=True), nullable=True))
    for name in ('settled_until', 'settled_at'):
        op.add_column('worker', sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    worker = sa.table(
        'worker',
        sa.column('id', sa.Uuid()),
        sa.column('started_at', sa.DateTime(timezone=True)),
        sa.column('load_ns', sa.BigInteger()),
        sa.column('online_at', sa.DateTime(timezone=True)),
    )
    connection = op.get_bind()
    for row in connection.execute(sa.select(worker)).all():
        loading = timedelta(microseconds=row.load_ns // 1000 + 1)
        connection.execute(
            worker.update().where(worker.c.id == row.id).values(online_at=row.started_at - loading)
        )
    with op.batch_alter_table('worker') as table:
        table.alter_column('online_at', existing_type=sa.DateTime(timezone=True), nullable=False)


def _ledger() -> None:
    op.add_column('ledger', sa.Column('quantity', sa.BigInteger(), nullable=True))
    op.add_column('ledger', sa.Column('priced_at', sa.DateTime(timezone=True), nullable=True))
    op.execute('UPDATE ledger SET priced_at = created_at')
    with op.batch_alter_table('ledger') as table:
        table.alter_column('device_kind', existing_type=sa.String(length=64), nullable=True)
        table.alter_column('priced_at', existing_type=sa.DateTime(timezone=True), nullable=False)
    where = sa.text("kind = 'correction'")
    op.create_index(
        'ix_ledger_correction', 'ledger', ['batch_id'], sqlite_where=where, postgresql_where=where
    )


def _tallies() -> None:
    for table in ('tally', 'batch_count'):
        op.add_column(
            table, sa.Column('image_bytes', sa.BigInteger(), nullable=False, server_default='0')
        )
    op.add_column('tally', sa.Column('worker_id', sa.Uuid(), nullable=True))
    op.add_column('tally', sa.Column('kind', sa.String(length=32), nullable=True))
    op.add_column('tally', sa.Column('day', sa.Date(), nullable=True))
    for name in ('entries', 'device_ns'):
        op.add_column('tally', sa.Column(name, sa.BigInteger(), nullable=False, server_default='0'))
    for name in ('least_nanodollars', 'most_nanodollars'):
        op.add_column('tally', sa.Column(name, sa.BigInteger(), nullable=True))
    where = sa.text('kind IS NOT NULL')
    op.create_index(
        'ix_tally_worker', 'tally', ['worker_id'], sqlite_where=where, postgresql_where=where
    )


def _sum_what_is_there() -> None:
    """Make the sums of what is in the books; from now on they are kept as it is booked."""
    op.execute(
        'UPDATE batch_count SET image_bytes = (SELECT coalesce(sum(job.image_bytes), 0) FROM job '
        "WHERE job.batch_id = batch_count.batch_id AND state = 'done' AND reused_from IS NULL)"
    )
    ledger = sa.table(
        'ledger',
        *(sa.column(name, sa.Uuid()) for name in ('batch_id', 'worker_id')),
        sa.column('kind', sa.String()),
        *(sa.column(name, sa.BigInteger()) for name in ('device_ns', 'amount_nanodollars')),
        sa.column('created_at', sa.DateTime(timezone=True)),
    )
    cost_sum = sa.table(
        'cost_sum',
        *(sa.column(name, sa.Uuid()) for name in ('batch_id', 'worker_id')),
        sa.column('kind', sa.String()),
        sa.column('day', sa.Date()),
        *(
            sa.column(name, sa.BigInteger())
            for name in (
                'entries',
                'device_ns',
                'nanodollars',
                'least_nanodollars',
                'most_nanodollars',
            )
        ),
    )
    connection = op.get_bind()
    is_postgres = connection.dialect.name == 'postgresql'
    in_utc = sa.func.timezone('UTC', ledger.c.created_at) if is_postgres else ledger.c.created_at
    day = sa.cast(in_utc, sa.Date) if is_postgres else sa.func.date(in_utc, type_=sa.Date())
    key = (
        sa.func.coalesce(ledger.c.batch_id, sa.literal(NOBODY, sa.Uuid())),
        sa.func.coalesce(ledger.c.worker_id, sa.literal(NOBODY, sa.Uuid())),
        ledger.c.kind,
        day,
    )
    amount = ledger.c.amount_nanodollars
    sums = sa.select(
        *(column.label(name) for column, name in zip(key, ('b', 'w', 'k', 'd'), strict=True)),
        sa.func.count().label('n'),
        sa.cast(sa.func.sum(ledger.c.device_ns), sa.BigInteger).label('t'),
        sa.cast(sa.func.sum(amount), sa.BigInteger).label('a'),
        sa.func.min(amount).label('l'),
        sa.func.max(amount).label('m'),
    ).group_by(sa.text('1'), sa.text('2'), sa.text('3'), sa.text('4'))
    connection.execute(cost_sum.insert().from_select([column.name for column in cost_sum.c], sums))


def downgrade() -> None:
    op.drop_index('ix_tally_worker', table_name='tally')
    for name in (
        'most_nanodollars',
        'least_nanodollars',
        'device_ns',
        'entries',
        'day',
        'kind',
        'worker_id',
        'image_bytes',
    ):
        op.drop_column('tally', name)
    op.drop_column('batch_count', 'image_bytes')
    op.drop_index('ix_job_over_budget', table_name='job')
    op.drop_column('job', 'held_for')
    for name in ('quote', 'max_nanodollars', 'tags'):
        op.drop_column('batch', name)
    op.drop_index('ix_ledger_correction', table_name='ledger')
    op.execute('DELETE FROM ledger WHERE device_kind IS NULL')
    with op.batch_alter_table('ledger') as table:
        table.alter_column('device_kind', existing_type=sa.String(length=64), nullable=False)
        table.drop_column('priced_at')
        table.drop_column('quantity')
    for name in ('settled_at', 'settled_until', 'online_at', 'device_sku'):
        op.drop_column('worker', name)
    for name in ('declared_rate', 'measured_rate', 'tenant_budget', 'cost_sum', 'store_rate'):
        op.drop_table(name)
    op.execute("DELETE FROM price WHERE sku != '' OR device_kind = 'qaic'")
    with op.batch_alter_table('price') as table:
        table.drop_constraint(op.f('uq_price_device_kind'), type_='unique')
        table.create_unique_constraint(
            op.f('uq_price_device_kind'), ['device_kind', 'effective_from']
        )
        table.drop_column('source_date')
        table.drop_column('sku')
