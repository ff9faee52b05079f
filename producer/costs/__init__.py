"""What was spent: the bill of a batch, and reports of costs by what they were spent on."""

from producer.costs.bill import Bill, BillLine, make_bill
from producer.costs.jobs import JobCost, job_costs
from producer.costs.report import CostReport, cost_report

__all__ = [
    "Bill",
    "BillLine",
    "CostReport",
    "JobCost",
    "cost_report",
    "job_costs",
    "make_bill",
]
