"""The four services of a shop, each an ordinary gRPC server of its own process. They know one address: that of Switchboard.

    python serve.py orders 50061 localhost:7070
"""

import pathlib
import sqlite3
import sys
import threading
import uuid
from concurrent import futures

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "proto"))
pb, rpc = grpc.protos_and_services("shop/v1/shop.proto")


class Orders(rpc.OrdersServicer):
    def __init__(self, switchboard):
        channel = grpc.insecure_channel(switchboard)
        self.inventory = rpc.InventoryStub(channel)
        self.payments = rpc.PaymentsStub(channel)
        self.notifications = rpc.NotificationsStub(channel)
        self.orders = {}

    def PlaceOrder(self, request, context):
        id = str(uuid.uuid4())
        # What is left of the caller's time is all that the others get.
        left = context.time_remaining()
        timeout = min(left, 10) if left is not None else 10
        try:
            reserved = self.inventory.Reserve(pb.ReserveRequest(order_id=id, lines=request.lines), timeout=timeout)
            self.payments.Charge(pb.ChargeRequest(order_id=id, amount_cents=reserved.total_cents), timeout=timeout)
            text = f"Thank you, {request.customer}: {len(request.lines)} kinds of goods are on their way."
            self.notifications.Send(pb.Notification(order_id=id, text=text), timeout=timeout)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())
        order = pb.Order(id=id, customer=request.customer, lines=request.lines, total_cents=reserved.total_cents)
        self.orders[id] = order
        return order

    def GetOrder(self, request, context):
        if request.id not in self.orders:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no order {request.id!r}")
        return self.orders[request.id]


class Payments(rpc.PaymentsServicer):
    """Its processes share a database, so that any of them can answer."""

    def __init__(self, instance, path):
        self.instance = instance
        self.path = path
        with self.open() as db:
            db.execute("create table if not exists payments (id text primary key, cents integer, instance text)")

    def open(self):
        return sqlite3.connect(self.path, timeout=10)

    def find(self, db, id):
        row = db.execute("select cents, instance from payments where id = ?", [id]).fetchone()
        return row and pb.Payment(order_id=id, amount_cents=row[0], instance=row[1])

    def Charge(self, request, context):
        with self.open() as db:
            db.execute("insert or ignore into payments values (?, ?, ?)", [request.order_id, request.amount_cents, self.instance])
            return self.find(db, request.order_id)

    def ListPayments(self, request, context):
        with self.open() as db:
            found = [self.find(db, id) for id in request.order_ids]
        return pb.ListPaymentsResponse(payments=[payment for payment in found if payment])


class Inventory(rpc.InventoryServicer):
    def __init__(self):
        self.lock = threading.Lock()
        self.reserved = {}
        self.items = {
            item.sku: item
            for item in [
                pb.Item(sku="tea", name="Tea", price_cents=450, stock=1000),
                pb.Item(sku="cup", name="Cup", price_cents=1200, stock=1000),
                pb.Item(sku="gold", name="Golden spoon", price_cents=99_900, stock=1),
            ]
        }

    def Reserve(self, request, context):
        with self.lock:
            if request.order_id not in self.reserved:
                for line in request.lines:
                    item = self.items.get(line.sku)
                    if item is None:
                        context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {line.sku!r}")
                    if not 0 < line.quantity <= item.stock:
                        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{item.stock} of {item.name!r} are left")
                total = 0
                for line in request.lines:
                    self.items[line.sku].stock -= line.quantity
                    total += self.items[line.sku].price_cents * line.quantity
                self.reserved[request.order_id] = pb.ReserveResponse(total_cents=total)
            return self.reserved[request.order_id]

    def GetItems(self, request, context):
        return pb.GetItemsResponse(items=[self.items[sku] for sku in request.skus if sku in self.items])


class Notifications(rpc.NotificationsServicer):
    def __init__(self):
        self.sent = []

    def Send(self, request, context):
        self.sent.append(request)
        return request

    def ListNotifications(self, request, context):
        return pb.ListNotificationsResponse(notifications=[n for n in self.sent if n.order_id in request.order_ids])


def main():
    name, port, switchboard = sys.argv[1], sys.argv[2], sys.argv[3]
    server = grpc.server(futures.ThreadPoolExecutor(16))
    match name:
        case "orders":
            rpc.add_OrdersServicer_to_server(Orders(switchboard), server)
        case "payments":
            path = sys.argv[4] if len(sys.argv) > 4 else "payments.db"
            rpc.add_PaymentsServicer_to_server(Payments(port, path), server)
        case "inventory":
            rpc.add_InventoryServicer_to_server(Inventory(), server)
        case "notifications":
            rpc.add_NotificationsServicer_to_server(Notifications(), server)
        case _:
            sys.exit("orders, payments, inventory or notifications?")
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print(f"{name} on 127.0.0.1:{bound}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
