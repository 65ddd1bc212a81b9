"""The scenes that there are."""

from simulation.deliveries import DELIVERIES
from simulation.faults import KINDS
from simulation.people import People
from simulation.rules import order_rules
from simulation.scene import Scene

ORDERS = Scene(name="create_order", act=lambda world: People(world).order, rules=order_rules, kinds=KINDS)
SCENES = {scene.name: scene for scene in (ORDERS, DELIVERIES)}
