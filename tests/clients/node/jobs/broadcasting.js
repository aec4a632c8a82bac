'use strict';

const { Tally } = require('../env');

const COUNT = 100;

/** Two broadcasting consumers of one group each get every message, once. */
async function run(env) {
  const topic = await env.topic('t');
  const tallies = [ new Tally(), new Tally() ];
  for (const tally of tallies) {
    await env.listen(topic, '*', id => tally.add(id), { isBroadcast: true });
  }
  const producer = await env.producer();
  const sent = new Set();
  for (let i = 0; i < COUNT; i++) {
    await env.sendOk(producer, env.message(topic, 'tag', `m${i}`));
    sent.add(`m${i}`);
  }
  for (const tally of tallies) {
    await env.await('a consumer got all', 60, () => !tally.missingOf(sent).length);
    tally.mustBe(sent);
  }
  return `${COUNT} sent, each of two consumers got all of them once`;
}

module.exports = { run, timeoutS: 90 };
