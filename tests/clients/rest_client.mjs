// The real @uploadcare/rest-client against the daemon: every webhook call and its errors.
//
// Owns one session in one mode. Must never send a request by other means than the client.
// Environment: BASE_URL, PUBLIC_KEY, SECRET_KEY, MODE (signed, simple), NODE_MODULES.
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const { BASE_URL, PUBLIC_KEY, SECRET_KEY, MODE, NODE_MODULES } = process.env
const require = createRequire(path.join(NODE_MODULES, 'anchor.js'))
const folder = path.join(NODE_MODULES, '@uploadcare/rest-client')
const { version } = require(path.join(folder, 'package.json'))
const client = await import(pathToFileURL(path.join(folder, 'dist/esm/index.node.mjs')))
const { listOfWebhooks, createWebhook, updateWebhook, deleteWebhook } = client
const Scheme = MODE === 'simple' ? client.UploadcareSimpleAuthSchema : client.UploadcareAuthSchema
const TARGET = `https://example.com/rest-client/${MODE}`
const UNKNOWN_ID = 2000000001

const settings = (secretKey = SECRET_KEY, publicKey = PUBLIC_KEY) => ({
  authSchema: new Scheme({ publicKey, secretKey }),
  apiBaseURL: BASE_URL,
  retryNetworkErrorMaxTimes: 0,
  retryThrottledRequestMaxTimes: 0
})

let passed = 0
let failed = 0
function check(name, holds, detail) {
  if (holds) passed += 1
  else failed += 1
  if (!holds) console.log(`FAIL ${name}  -- ${JSON.stringify(detail)}`)
}
const same = (name, seen, wanted) =>
  check(name, JSON.stringify(seen) === JSON.stringify(wanted), { seen, wanted })

async function rejects(name, status, text, call) {
  try {
    check(name, false, { resolved: await call() })
  } catch (error) {
    const known = /^RestClient(Validation)?Error$/.test(error.name)
    const told = text.test(error.message)
    check(name, known && error.status === status && told, [error.name, error.status, error.message])
  }
}

async function session() {
  const ours = settings()
  same('list: empty at first', await listOfWebhooks({}, ours), [])
  same('delete: unknown target', await deleteWebhook({ targetUrl: TARGET }, ours), undefined)
  const made = await createWebhook({ targetUrl: TARGET, event: 'file.uploaded' }, ours)
  same('create: values', [made.targetUrl, made.event, made.isActive, made.version, made.signingSecret],
    [TARGET, 'file.uploaded', true, '0.7', null])
  check('create: types', Number.isInteger(made.id) && Number.isInteger(made.project), made)
  check('create: dates', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(made.created), made)
  for (const event of ['file.infected', 'file.stored', 'file.deleted', 'file.info_updated']) {
    const other = await createWebhook({ targetUrl: TARGET, event, isActive: false, signingSecret: 'sss1' }, ours)
    same(`create: ${event}`, [other.event, other.isActive, other.signingSecret], [event, false, 'sss1'])
  }
  const listed = await listOfWebhooks({}, ours)
  same('list: all of them', listed.length, 5)
  same('list: as create answered', listed.find((webhook) => webhook.id === made.id), made)
  const off = await updateWebhook({ id: made.id, isActive: false }, ours)
  same('update: partial', [off.targetUrl, off.event, off.isActive, off.created], [TARGET, 'file.uploaded', false, made.created])
  const moved = await updateWebhook({ id: made.id, targetUrl: `${TARGET}/moved`, isActive: true, signingSecret: 'new' }, ours)
  same('update: every field', [moved.targetUrl, moved.isActive, moved.signingSecret], [`${TARGET}/moved`, true, 'new'])
  await errors(ours)
  same('delete: every event of a target', await deleteWebhook({ targetUrl: TARGET }, ours), undefined)
  same('delete: and only of that one', (await listOfWebhooks({}, ours)).map((webhook) => webhook.id), [made.id])
  same('delete', await deleteWebhook({ targetUrl: `${TARGET}/moved` }, ours), undefined)
  same('delete: again', await deleteWebhook({ targetUrl: `${TARGET}/moved` }, ours), undefined)
  same('list: empty', await listOfWebhooks({}, ours), [])
}

async function errors(ours) {
  const moved = `${TARGET}/moved`
  const create = (fields) => () => createWebhook({ targetUrl: `${TARGET}/x`, event: 'file.uploaded', ...fields }, ours)
  await rejects('create: duplicate', 400, /already subscribed/, create({ targetUrl: moved }))
  await rejects('create: no URL', 400, /targetUrl|target_url/, create({ targetUrl: 'invalid' }))
  await rejects('create: private address', 400, /./, create({ targetUrl: 'http://10.1.2.3/' }))
  await rejects('create: unknown event', 400, /event/, create({ event: 'no.such' }))
  await rejects('create: long secret', 400, /signingSecret|signing_secret/, create({ signingSecret: 's'.repeat(33) }))
  await rejects('create: empty target', 400, /target_url/, create({ targetUrl: '' }))
  await rejects('update: unknown id', 404, /Not found/, () => updateWebhook({ id: UNKNOWN_ID, isActive: true }, ours))
  await rejects('delete: empty target', 400, /target_url/, () => deleteWebhook({ targetUrl: '' }, ours))
  await rejects('wrong secret', 401, /\w/, () => listOfWebhooks({}, settings('wrong')))
  await rejects('unknown key', 401, /\w/, () => listOfWebhooks({}, settings(SECRET_KEY, 'nobodyspublickey0001')))
}

console.log(`# @uploadcare/rest-client ${version}, ${MODE}`)
try {
  await session()
} catch (error) {
  check('the session ran to its end', false, [error.name, error.status, error.message, error.stack])
}
console.log(`${passed} passed, ${failed} failed`)
process.exit(failed === 0 && passed > 0 ? 0 : 1)
