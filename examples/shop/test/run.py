"""The shop: an order through four services that call each other by way of Switchboard, one query over all of them, and a process that dies in
between. Run by the test command with the Python of ../../user-service/python/requirements.txt; SWITCHBOARD_BIN names the server's binary."""

import pathlib
import re
import socket
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE.parent / "user-service" / "test"))
from run import BINARY, Process, check, http  # noqa: E402


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def graphql(base, query, **variables):
    status, answer = http(f"{base}/graphql", {"query": query, "variables": variables})
    assert status == 200 and "errors" not in answer, answer
    return answer["data"]


PLACE = """mutation Place($customer: String!, $lines: [LineInput!]!) {
  placeOrder(customer: $customer, lines: $lines) { id totalCents }
}"""
SHOW = """query Show($id: String!) {
  getOrder(id: $id) {
    customer totalCents
    lines { quantity item { name stock } }
    payments { amountCents instance }
    notifications { text }
  }
}"""


def main():
    port = free_port()

    folder = tempfile.TemporaryDirectory()

    def start(name):
        database = str(pathlib.Path(folder.name) / "payments.db")
        command = [sys.executable, str(HERE / "serve.py"), name, "0", f"127.0.0.1:{port}", database]
        return Process(command, name + r" on 127\.0\.0\.1:(\d+)")

    with start("orders") as orders, start("payments") as one, start("payments") as two, start("inventory") as inventory, start("notifications") as notifications:
        targets = {
            "orders": f"grpc://127.0.0.1:{orders.port}",
            "payments": f"grpc://127.0.0.1:{one.port},127.0.0.1:{two.port}",
            "inventory": f"grpc://127.0.0.1:{inventory.port}",
            "notifications": f"grpc://127.0.0.1:{notifications.port}",
        }
        sets = [part for name, url in targets.items() for part in ("--set", f"services.{name}.target={url}")]
        command = [str(BINARY), "serve", "-c", str(HERE / "switchboard.toml"), *sets, "--port", str(port), "--log", "text"]
        with Process(command, r"http://localhost:(\d+)"):
            base = f"http://127.0.0.1:{port}"
            lines = [{"sku": "tea", "quantity": 2}, {"sku": "cup", "quantity": 1}]
            placed = graphql(base, PLACE, customer="Ada", lines=lines)["placeOrder"]
            check("the total", placed["totalCents"], "2100")
            shown = graphql(base, SHOW, id=placed["id"])["getOrder"]
            check("the goods", [line["item"]["name"] for line in shown["lines"]], ["Tea", "Cup"])
            check("the payment", [p["amountCents"] for p in shown["payments"]], ["2100"])
            check("the message", len(shown["notifications"]), 1)
            # What a service refuses reaches the caller two services away, as it was said.
            status, problem = http(f"{base}/shop.v1.Orders/PlaceOrder", {"customer": "Bob", "lines": [{"sku": "gold", "quantity": 2}]})
            check("refused", (status, problem["status_name"], problem["detail"]), (400, "FAILED_PRECONDITION", "1 of 'Golden spoon' are left"))
            # A process dies; orders go on.
            one.process.kill()
            one.process.wait()
            for n in range(20):
                status, order = http(f"{base}/shop.v1.Orders/PlaceOrder", {"customer": f"c{n}", "lines": [{"sku": "tea", "quantity": 1}]})
                check("survived", (status, order.get("totalCents")), (200, "450"))
            # The last service dies: a clear error, in time.
            notifications.process.kill()
            notifications.process.wait()
            status, problem = http(f"{base}/shop.v1.Orders/PlaceOrder", {"customer": "Eve", "lines": [{"sku": "tea", "quantity": 1}]})
            check("unavailable", (status, problem["status_name"]), (503, "UNAVAILABLE"))
            assert re.search("cannot be reached", problem["detail"]), problem
    folder.cleanup()
    print("shop: ok")
    from run import checks

    print(f"{checks} passed, 0 failed")


if __name__ == "__main__":
    main()
