// A still from the camera, as the camera gives it.

import { $ } from "./dom.js";

/** Show the camera until a photo is taken. Returns the photo, or null. */
export async function takePhoto() {
  const dialog = $("#camera");
  const [video, problem, take] = [$("video", dialog), $(".problem", dialog), $(".take", dialog)];
  problem.textContent = "";
  take.hidden = video.hidden = false;
  dialog.showModal();
  let stream = null;
  const closed = new Promise((resolve) => dialog.addEventListener("close", () => resolve(null), { once: true }));
  const taken = new Promise((resolve) => (take.onclick = () => resolve(still(video))));
  try {
    stream = video.srcObject = await open();
    if (!dialog.open) return null;
    return await Promise.race([taken, closed]);
  } catch (error) {
    problem.textContent = reason(error);
    take.hidden = video.hidden = true;
    return await closed;
  } finally {
    stream?.getTracks().forEach((track) => track.stop());
    video.srcObject = null;
    dialog.close();
  }
}

function open() {
  // Browsers give a camera to pages from https and from this machine alone.
  if (!navigator.mediaDevices) throw new DOMException("", "SecurityError");
  return navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, facingMode: "user" } });
}

function reason({ name }) {
  const known = {
    SecurityError: "Browsers give the camera only to pages from https or localhost. Open this page so",
    NotAllowedError: "The camera was not allowed. Allow it for this page in the browser’s settings",
    NotFoundError: "There is no camera here. Connect one",
  };
  return `${known[name] ?? "The camera cannot be used; another program may have it. End that"}, or choose a photo.`;
}

async function still(video) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const data = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([data], "from the camera", { type: data.type });
}
