'use strict';

const { Tally, check } = require('../env');

const KEYS = 8;
const ROUNDS = 30;

/**
 * Messages of one sharding key go to one queue and are consumed in the order sent. Keys that this client maps to queue
 * 0 are left out: it spreads those over all queues.
 */
async function run(env) {
  const topic = await env.topic('t');
  const producer = await env.producer();
  const keys = await fixedKeys(env, producer, topic);
  const sent = new Set();
  const tally = new Tally();
  const lastOfKey = new Map();
  let wrong;
  await env.listen(topic, 'ordered', id => {
    const [ key, round ] = id.split(':');
    const last = lastOfKey.has(key) ? lastOfKey.get(key) : -1;
    if (Number(round) > last + 1) {
      wrong = `key ${key}: ${round} came after ${last}`;
    }
    lastOfKey.set(key, Math.max(last, Number(round)));
    tally.add(id);
  });
  for (let round = 0; round < ROUNDS; round++) {
    for (const key of keys) {
      const id = `${key}:${round}`;
      await env.sendOk(producer, sharded(env, topic, 'ordered', id, key));
      sent.add(id);
    }
  }
  await env.await('all consumed', 60, () => !tally.missingOf(sent).length);
  check(!wrong, wrong);
  return `${sent.size} messages of ${keys.length} keys in order, ${tally.duplicates} twice`;
}

function sharded(env, topic, tag, id, key) {
  const message = env.message(topic, tag, id);
  message.shardingKey = key;
  return message;
}

/** Keys of which two messages in a row went to the same queue, another one than queue 0. */
async function fixedKeys(env, producer, topic) {
  const keys = [];
  for (let i = 0; keys.length < KEYS; i++) {
    const queues = [];
    for (const round of [ 0, 1 ]) {
      const result = await env.sendOk(producer, sharded(env, topic, 'trial', `trial-${i}-${round}`, `k${i}`));
      queues.push(result.messageQueue.queueId);
    }
    if (queues[0] === queues[1] && queues[0] !== 0) {
      keys.push(`k${i}`);
    }
  }
  return keys;
}

module.exports = { run, timeoutS: 90 };
