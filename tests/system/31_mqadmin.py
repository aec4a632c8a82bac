#!/usr/bin/env python3
"""mqadmin against a nameserver and three replicas: every verb prints what is there, as a table and as JSON, and says
clearly what is wrong."""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
import brokers  # noqa: E402

MQADMIN = os.path.join(os.environ["BIN"], "mqadmin")
MQPERF = os.path.join(os.environ["BIN"], "mqperf")
MQNAMESRV = os.path.join(os.environ["BIN"], "mqnamesrv")
NAMESRV_PORT, PORT, PEER_PORT = 19460, 19405, 32460
NAMESRV = f"127.0.0.1:{NAMESRV_PORT}"
WAIT_S = 60


def admin(*args, want=0, namesrv=True):
    args = [MQADMIN, *args, *(["-n", NAMESRV] if namesrv else [])]
    env = {k: v for k, v in os.environ.items() if k != "NAMESRV_ADDR"}
    done = subprocess.run(args, capture_output=True, text=True, timeout=WAIT_S, env=env)
    assert done.returncode == want, (args, done.returncode, done.stdout, done.stderr)
    return done.stdout if want == 0 else done.stderr


def value(*args):
    return json.loads(admin(*args, "--json"))


def rows(text, header):
    """Lines behind the header, split at blanks."""
    lines = text.splitlines()
    assert lines[0].split() == header.split(), lines[0]
    return [line.split() for line in lines[1:] if line]


def start(root):
    with open(os.path.join(root, "namesrv.log"), "ab") as log:
        args = [MQNAMESRV, "-D", f"listenPort={NAMESRV_PORT}", "-D", "listenHost=127.0.0.1", "-D", f"kvConfigPath={root}/kv.json"]
        brokers.PROCESSES.append(subprocess.Popen(args, stderr=log, stdout=log))
    group = brokers.Group(root, 3, port=PORT, peer_port=PEER_PORT, namesrvAddr=NAMESRV)
    group.start()

    def registered():
        done = subprocess.run([MQADMIN, "clusterList", "-n", NAMESRV, "--json"], capture_output=True, text=True, timeout=WAIT_S)
        return done.returncode == 0 and len(json.loads(done.stdout)) == 3 and any(r["brokerId"] == 0 for r in json.loads(done.stdout))

    brokers.until(registered, "three replicas registered, one as leader")
    return group


def test_cluster_and_raft(root):
    group = start(root)
    table = rows(admin("clusterList"), "#Cluster Name #Broker Name #BID #Addr #Version #InTPS(LOAD) #OutTPS(LOAD) "
                 "#Timer(Progress) #PCWait(ms) #Hour #SPACE #ACTIVATED")
    assert len(table) == 3 and table[0][2] == "0" and table[0][-1] == "true", table
    leader = group.leader()
    assert table[0][3] == f"127.0.0.1:{leader.port}", table
    states = value("raftStatus")
    assert sorted(s["status"]["role"] for s in states) == ["follower", "follower", "leader"], states
    assert len(rows(admin("raftStatus"), "#Broker Name #Self #Addr #Role #Term #Leader #Begin #End #Committed #Applied #Elections")) == 3
    one = value("raftStatus", "-b", f"127.0.0.1:{leader.port}")
    assert one[0]["status"]["self"] == f"n{leader.number}", one


def test_transfer_leader(root):
    group = start(root)
    to = (group.leader().number + 1) % 3
    moved = value("transferLeader", "-g", "broker-s", "-t", f"n{to}")
    assert moved["leader"] == f"n{to}", moved
    assert brokers.until(group.leader, "a leader").number == to
    other = value("transferLeader", "-b", f"127.0.0.1:{group.replicas[0].port}")
    assert other["leader"] != f"n{to}", other
    assert "n7" in admin("transferLeader", "-g", "broker-s", "-t", "n7", want=1)
    assert "nobody" in admin("transferLeader", "-g", "nobody", want=1)


def test_topics(root):
    start(root)
    assert "success" in admin("updateTopic", "-c", "DefaultCluster", "-t", "T", "-r", "4", "-w", "3")
    assert "T" in admin("topicList").split() and "T" in value("topicList")
    route = brokers.until(lambda: value("topicRoute", "-t", "T"), "a route")
    assert route["queueDatas"][0]["readQueueNums"] == 4 and route["queueDatas"][0]["writeQueueNums"] == 3, route
    assert len(route["brokerDatas"][0]["brokerAddrs"]) == 3, route
    assert json.loads(admin("topicRoute", "-t", "T")) == route
    assert "broker-s" in admin("topicRoute", "-t", "T", "-l")
    assert len(rows(admin("topicStatus", "-t", "T").split("\n\n")[0], "#Broker Name #QID #Min Offset #Max Offset #Last Updated")) == 4
    assert "success" in admin("deleteTopic", "-t", "T", "-c", "DefaultCluster")
    assert "17" in admin("topicRoute", "-t", "T", want=1)
    assert "elsewhere" in admin("deleteTopic", "-t", "T", "-c", "elsewhere", want=1)


def test_messages(root):
    start(root)
    admin("updateTopic", "-c", "DefaultCluster", "-t", "T", "-r", "2", "-w", "2")
    sent = value("sendMessage", "-t", "T", "-p", "hello", "-k", "k1 k2", "-c", "tag", "-b", "broker-s", "-i", "1")
    assert sent["queueId"] == 1 and sent["queueOffset"] == 0 and sent["result"] == "SEND_OK", sent
    row = rows(admin("sendMessage", "-t", "T", "-p", "x"), "#Broker Name #QID #Send Result #MsgId #OffsetMsgId")[0]
    assert row[2] == "SEND_OK" and value("queryMsgById", "-i", row[4])[0]["body"] == "x", row
    assert "made by the sender" in admin("queryMsgById", "-i", row[3], want=1)
    seen = value("queryMsgById", "-i", sent["offsetMsgId"])[0]
    assert seen["body"] == "hello" and seen["properties"]["TAGS"] == "tag" and seen["topic"] == "T", seen
    text = admin("queryMsgById", "-i", sent["offsetMsgId"], "-f", "UTF-8")
    assert "Keys:                [k1 k2]" in text and "hello" in text, text
    read = value("consumeMessage", "-t", "T", "-b", "broker-s", "-i", "1")
    assert read[0]["msgId"] == sent["msgId"] and read[0]["body"] == "hello", read
    assert len(value("consumeMessage", "-t", "T", "-c", "1")) == 1
    assert value("consumeMessage", "-t", "T", "-b", "broker-s", "-i", "1", "-o", "5000") == []
    assert "hello" in admin("consumeMessage", "-t", "T")
    status = value("topicStatus", "-t", "T")
    assert status["queues"][1]["maxOffset"] >= 1, status
    assert "offset message id" in admin("queryMsgById", "-i", "xyz", want=1)


def test_consumer_progress(root):
    start(root)
    common = ["-n", NAMESRV, "--json", "--quiet"]
    subprocess.run([MQPERF, "produce", "-t", "T", "-q", "2", "-m", "100", *common], check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)
    subprocess.run([MQPERF, "subscribe", "-t", "T", "-g", "readers", "-m", "100", "-d", "30", *common], check=True,
                   stdout=subprocess.DEVNULL, timeout=WAIT_S)
    subprocess.run([MQPERF, "produce", "-t", "T", "-m", "10", *common], check=True, stdout=subprocess.DEVNULL, timeout=WAIT_S)
    progress = value("consumerProgress", "-g", "readers")
    assert progress["diffTotal"] == 10, progress
    assert sum(q["consumerOffset"] for q in progress["queues"] if q["topic"] == "T") == 100, progress
    text = admin("consumerProgress", "-g", "readers")
    assert "Consume Diff Total: 10" in text, text
    groups = brokers.until(lambda: [g for g in value("consumerProgress") if g["group"] == "readers"], "the group in the list")
    assert groups[0]["diffTotal"] == 10 and groups[0]["count"] == 0, groups
    assert "nobody" in admin("consumerProgress", "-g", "nobody", want=1)


def test_errors_name_their_cause(root):
    assert "NAMESRV_ADDR" in admin("topicList", want=2, namesrv=False)
    assert "127.0.0.1:1" in admin("topicList", "-n", "127.0.0.1:1", want=1, namesrv=False)
    assert "nonsense" in admin("topicList", "-n", "nonsense", want=2, namesrv=False)
    assert "fly" in admin("fly", want=2)
    assert "-t (topic)" in admin("topicStatus", want=2)
    assert "--wings" in admin("topicList", "--wings", want=2)
    assert "-r zero" in admin("updateTopic", "-t", "T", "-b", "127.0.0.1:1", "-r", "zero", want=1)
    assert "clusterList" in admin("-h", namesrv=False) and "--topic" in admin("topicRoute", "-h", namesrv=False)


if __name__ == "__main__":
    sys.exit(brokers.run([(n[5:], f) for n, f in list(globals().items()) if n.startswith("test_")]))
