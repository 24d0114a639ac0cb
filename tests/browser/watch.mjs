// Plays a live stream in Chromium as a web page of today would, and prints a line of JSON twice a second: what the
// audience has seen so far. `node watch.mjs PLAYER URL PICTURE`: PLAYER is `mpegts` (HTTP-FLV) or `hls`. It ends when its
// standard input does, and writes what the page shows then to PICTURE (PNG). CHROMIUM names the browser. Runs where
// node_modules is.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const [name, url, picture] = process.argv.slice(2);
const require = createRequire(`${process.cwd()}/`);
const { chromium } = require("playwright-core");
const library = { mpegts: "mpegts.js/dist/mpegts.js", hls: "hls.js/dist/hls.js" }[name];
const OPTIONS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
];

// How long the browser may take for a step, in milliseconds.
const PATIENCE = 60_000;

// In the page: begin to play.
function start([name, url]) {
  document.body.style.cssText = "margin:0;background:black";
  const video = document.createElement("video");
  video.style.cssText = "width:100vw;height:100vh;object-fit:contain";
  video.muted = true;
  document.body.append(video);
  const seen = (window.seen = { errors: [], waits: 0, sizes: [] });
  const failed = (error) => { if (seen.errors.length < 5) seen.errors.push(String(error)); };
  video.addEventListener("error", () => failed(video.error.message));
  video.addEventListener("waiting", () => { seen.waits += 1; });
  video.addEventListener("resize", () => seen.sizes.push(`${video.videoWidth}x${video.videoHeight}`));
  if (name === "mpegts") {
    const player = mpegts.createPlayer({ type: "flv", url, isLive: true });
    player.on(mpegts.Events.ERROR, (type, detail, { msg }) => failed(`${type} ${detail} ${msg}`));
    player.attachMediaElement(video);
    player.load();
  } else {
    const player = new Hls();
    player.on(Hls.Events.ERROR, (_, { fatal, details }) => fatal && failed(details));
    player.loadSource(url);
    player.attachMedia(video);
  }
  video.play().catch(failed);
}

// In the page: what the audience has seen so far.
function look() {
  const video = document.querySelector("video");
  const { totalVideoFrames, droppedVideoFrames } = video.getVideoPlaybackQuality();
  return { ...window.seen, time: video.currentTime, frames: totalVideoFrames, dropped: droppedVideoFrames };
}

// The page is of another origin than the stream, whose server must let it play; a local one, since a browser asks its
// user before a public site may reach loopback.
const site = createServer((_, response) => {
  response.setHeader("Content-Type", "text/html").end("<!doctype html>");
});
await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: OPTIONS, timeout: PATIENCE });
try {
  const page = await browser.newPage({ viewport: { width: 640, height: 360 } });
  page.setDefaultTimeout(PATIENCE);
  await page.goto(`http://127.0.0.1:${site.address().port}/`);
  await page.addScriptTag({ path: require.resolve(library) });
  await page.evaluate(start, [name, url]);
  let over = false;
  process.stdin.resume().on("end", () => { over = true; });
  while (!over) {
    await page.waitForTimeout(500);
    console.log(JSON.stringify(await page.evaluate(look)));
  }
  await page.screenshot({ path: picture });
} finally {
  await browser.close();
  site.close();
}
