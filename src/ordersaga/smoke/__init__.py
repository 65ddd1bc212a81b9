"""Whether a deployment does its work, tried from outside with an order: what `ordersaga smoke` does.

It looks at every part, then places one order, sees it through, cancels it, and sees the payment given back and both
outcomes counted. The promise: what it begins it takes back, or says that it may be there; each wait has a bound, and no
order is placed where a part is missing that it needs. The non-promise: that nothing is left. The order is a real one of
a real customer, for as long as it is open; its saga, its history and its place in the statistics stay.
"""
