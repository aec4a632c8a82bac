'use strict';

const { exec } = require('child_process');
const { Tally, check, setting, sleep } = require('../env');

const BEFORE = 200;
const AFTER = 200;
const RECOVER_S = 120;
const HOOK_S = 60;

/**
 * Messages are sent and consumed while KILL_LEADER_CMD kills the leader. Errors meanwhile are counted and allowed (this
 * client does not try the same broker name twice); an acknowledged message that is not consumed is not.
 */
async function run(env) {
  const hook = setting('KILL_LEADER_CMD', '');
  check(hook, 'KILL_LEADER_CMD is not set');
  const topic = await env.topic('any');
  const producer = await env.producer();
  const acked = new Set();
  const tally = new Tally();
  await env.listen(topic, '*', id => tally.add(id));
  let sent = 0;
  let errors = 0;
  let lastAck = Date.now();
  let longestPause = 0;
  let stop = false;
  const sending = (async () => {
    for (; !stop; sent++) {
      try {
        await env.sendOk(producer, env.message(topic, 'tag', `m${sent}`));
        acked.add(`m${sent}`);
        longestPause = Math.max(longestPause, Date.now() - lastAck);
        lastAck = Date.now();
      } catch (err) {
        errors++;
        env.log(err.message);
      }
      await sleep(5);
    }
  })();
  try {
    await env.await('messages flow', RECOVER_S, () => acked.size >= BEFORE);
    env.log(await killLeader(hook));
    const then = acked.size;
    await env.await('goes on after the kill', RECOVER_S, () => acked.size >= then + AFTER);
  } finally {
    stop = true;
  }
  await sending;
  let lost = [];
  await env.await('every acknowledged message consumed', RECOVER_S, () => {
    lost = tally.missingOf(acked);
    return !lost.length;
  }).catch(err => env.log(`${err.message}: ${lost}`));
  const report = `${sent} sent, ${acked.size} acked, ${errors} errors, ${lost.length} lost, ${tally.duplicates} ` +
    `duplicated, longest pause ${longestPause} ms`;
  check(!lost.length, report);
  return report;
}

function killLeader(hook) {
  return new Promise((resolve, reject) => {
    exec(hook, { shell: '/bin/bash', timeout: HOOK_S * 1000 }, (err, stdout, stderr) => {
      if (err) {
        reject(new Error(`KILL_LEADER_CMD: ${err.message} ${stdout} ${stderr}`));
      } else {
        resolve(`hook said: ${stdout} ${stderr}`);
      }
    });
  });
}

module.exports = { run, timeoutS: 300, alone: true };
