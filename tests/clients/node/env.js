'use strict';

const fs = require('fs');
const path = require('path');
const { setTimeout: sleep } = require('timers/promises');
const { Consumer, Message, Producer } = require('ali-ons');

const CHECK_EVERY_MS = 20;
const QUEUES = 4;

function setting(name, otherwise) {
  return process.env[name] || otherwise;
}

function check(holds, what) {
  if (!holds) {
    throw new Error(what);
  }
}

/** Counts what arrived, by id. */
class Tally {
  constructor() {
    this.counts = new Map();
  }

  /** Counts id; true when it came for the first time. */
  add(id) {
    const before = this.counts.get(id) || 0;
    this.counts.set(id, before + 1);
    return before === 0;
  }

  get distinct() {
    return this.counts.size;
  }

  get duplicates() {
    return [...this.counts.values()].reduce((sum, count) => sum + count - 1, 0);
  }

  missingOf(wanted) {
    return [...wanted].filter(id => !this.counts.has(id));
  }

  /** Throws unless exactly the ids of wanted came, each once. */
  mustBe(wanted) {
    const missing = this.missingOf(wanted);
    const extra = [...this.counts.keys()].filter(id => !wanted.has(id));
    check(!missing.length, `${missing.length} missing, such as ${missing[0]}`);
    check(!extra.length, `${extra.length} not wanted, such as ${extra[0]}`);
    check(!this.duplicates, `${this.duplicates} came twice`);
  }
}

/**
 * What a job is given: names nobody else uses, clients that are closed when the job ends, a log of its own, and waiting
 * for conditions with a deadline.
 */
class Env {
  constructor(job, logDir) {
    this.job = job;
    this.file = fs.createWriteStream(path.join(logDir, `${job}.log`));
    this.clients = [];
    this.runId = setting('RUN_ID', Date.now().toString(36));
  }

  log(line) {
    this.file.write(`${new Date().toISOString()} ${line}\n`);
  }

  /** A topic or group name of this run and job. */
  name(what) {
    return `ck-${this.runId}-node-${this.job}-${what}`;
  }

  async close() {
    for (const client of this.clients.reverse()) {
      // A close that never ends must not hold up the others: the process ends soon anyway.
      await Promise.race([client.close().catch(err => this.log(err.stack)), sleep(5000)]);
    }
    this.file.end();
  }

  /** Waits until condition (which may be asynchronous) holds. */
  async await(what, seconds, condition) {
    const start = Date.now();
    while (!await condition()) {
      check(Date.now() - start < seconds * 1000, `not within ${seconds} s: ${what}`);
      await sleep(CHECK_EVERY_MS);
    }
    this.log(`${what} after ${Date.now() - start} ms`);
  }

  options(more) {
    const quiet = () => {};
    const log = (...args) => this.log(args.map(String).join(' '));
    return Object.assign({
      nameSrv: setting('NAMESRV_ADDR', '127.0.0.1:9876').split(';'),
      httpclient: { request: () => Promise.reject(new Error('no address server here')) },
      instanceName: this.name(`i${this.clients.length}`),
      pollNameServerInteval: 1000, // spelt so by the client
      rebalanceInterval: 2000, // it does not listen to the broker's notifications
      logger: { debug: quiet, info: quiet, warn: log, error: log },
    }, more);
  }

  async producer() {
    const producer = new Producer(this.options({ producerGroup: this.name('p') }));
    producer.on('error', err => this.log(err.stack));
    this.clients.push(producer);
    await producer.ready();
    return producer;
  }

  /**
   * Makes a topic on every broker and waits until its route is there. A first message would not do: this client gives
   * up when the nameserver does not know the topic, before it comes to the template's route.
   */
  async topic(what) {
    const topicName = this.name(what);
    const client = (await this.producer())._mqClient;
    const template = await client.getDefaultTopicRouteInfoFromNameServer('TBW102', 3000);
    const config = {
      topicName, readQueueNums: QUEUES, writeQueueNums: QUEUES, perm: 6, topicFilterType: 'SINGLE_TAG',
      topicSysFlag: 0, order: false,
    };
    for (const broker of template.brokerDatas) {
      await client.createTopic(broker.brokerAddrs[0], 'TBW102', config, 5000);
    }
    await this.await(`route of ${topicName}`, 20, () => client.getTopicRouteInfoFromNameServer(topicName, 3000)
      .catch(() => undefined));
    return topicName;
  }

  message(topic, tag, id) {
    const message = new Message(topic, tag, `body of ${id}`);
    message.keys = [ id ];
    return message;
  }

  async sendOk(producer, message) {
    const result = await producer.send(message);
    check(result.sendStatus === 'SEND_OK', `send of ${message.keys}: ${JSON.stringify(result)}`);
    return result;
  }

  /** Starts a push consumer that begins at the oldest message and hands id and message to got. */
  async listen(topic, tags, got, more) {
    const consumer = new Consumer(this.options(Object.assign({
      consumerGroup: this.name('g'), consumeFromWhere: 'CONSUME_FROM_FIRST_OFFSET',
    }, more)));
    consumer.on('error', err => this.log(err.stack));
    this.clients.push(consumer);
    await consumer.ready();
    consumer.subscribe(topic, tags, async message => {
      got(message.keys, message);
    });
    return consumer;
  }

  /** Closes a client before the job ends. */
  async leave(client) {
    this.clients.splice(this.clients.indexOf(client), 1);
    await client.close();
  }
}

module.exports = { Env, Tally, check, setting, sleep };
